"""The resolver process, started by the core and by nobody else. It alone reads what containers and name servers send."""

from __future__ import annotations

from helperd.unprivileged import Serve, run


def load() -> Serve:
    """What answers containers."""
    from helperd.names.link import serve

    return serve


if __name__ == "__main__":
    run("helperd.names", "resolver", load)
