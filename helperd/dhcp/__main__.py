"""The DHCP process, started by the core and by nobody else. It alone reads what DHCP servers send."""

from __future__ import annotations

from helperd.unprivileged import Serve, run


def load() -> Serve:
    """What keeps leases."""
    from helperd.dhcp.service import serve

    return serve


if __name__ == "__main__":
    run("helperd.dhcp", "DHCP client", load)
