"""A network whose addresses come from the site's DHCP server, made and joined by keys; the lease stands in the details."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.model import Lease
from tests.kernel.site_dhcp import Dnsmasq
from tests.running_lab import Lab
from tests.tui.station import station
from tests.tui.test_forms import go_into, go_to, open_create, planned
from tui.documents import Page, plain_text
from tui.lease_words import put
from tui.screens.forms.attach import Attach

pytestmark = pytest.mark.req("X7", "W5")


async def test_a_leased_address_from_the_form_to_the_details(module_lab: Lab, tmp_path: Path) -> None:
    server = Dnsmasq(module_lab, tmp_path, link="lan0")
    module_lab.netdeck("run", "-d", "--name", "lodger", "sleep", "600")
    try:
        async with station(module_lab.socket, (120, 40)) as user:
            form = await open_create(user)
            await user.type("site")
            await go_into(user, "driver")
            await user.press("left")
            await user.until(lambda: form.info.name == "macvlan" and form.query_one("#ipam").is_on_screen, "macvlan may")
            await go_into(user, "ipam")
            await user.press("right")
            await user.until(lambda: not form.query_one("#subnet-0").is_on_screen, "the server says which subnet it is")
            await user.until(lambda: "leads to no DHCP server" in user.errors().get("option:parent", ""), "without a parent there is none")
            await go_into(user, "option-parent")
            await user.type("eth0")
            await planned(user)
            await user.until(lambda: "--ipam-driver dhcp -o parent=eth0 site" in form.plan.command, "the command says it")
            await user.press("ctrl+s")
            await user.until(lambda: (made := user.app.feed.network_named("site")) is not None and made.ipam == "dhcp", "it is made")
            await go_to(user, "site")
            await user.press("a")
            await user.until(lambda: isinstance(user.app.screen, Attach), "the form is open")
            await user.type("lodger")
            await user.until(lambda: user.shows("what the site's DHCP server gives"), "its address is the server's to give")
            await planned(user)
            await user.press("ctrl+s")
            await user.until(lambda: any("lodger attached to site with 192.168.1.1" in text for text in user.said), "it has one", 60)
            await go_to(user, "site")
            await user.press("enter", "right")
            await user.until(lambda: user.shows("192.168.1.1, ") and user.shows(" left"), "the lease is shown")
            await user.press("escape", "x")
            await user.until(lambda: user.shows("network disconnect site lodger"), "the plan is shown")
            await user.press("ctrl+s")
            await user.until(lambda: any("lodger detached from site" in text for text in user.said), "it is detached", 60)
            await user.take_back("network connect")
            await user.until(lambda: any("attached again" in text for text in user.said), "and attached again", 60)
    finally:
        server.stop()


def test_a_lease_in_words() -> None:
    def text(lease: Lease | None, now: float) -> str:
        page = Page(80)
        put(page, lease, now)
        return plain_text(page.lines)

    lease = Lease("192.0.2.9/24", "192.0.2.1", "02:00:00:00:00:01", 1000.0, 600, 300, 525, "192.0.2.1", ("192.0.2.2",), "site.test")
    assert "192.0.2.9/24 from 192.0.2.1, 9:10 left, asked for again at" in text(lease, 1050.0)
    assert "192.0.2.2 search site.test" in text(lease, 1050.0) and "over" in text(lease, 1700.0)
    assert "for ever" in text(Lease("192.0.2.9/24", "192.0.2.1", "", 1.0, 4294967295, 1, 1), 5.0)
    assert "lost: no server answers" in text(Lease("192.0.2.9/24", "192.0.2.1", "", 1.0, 60, 1, 1, lost="no server answers"), 5.0)
    assert text(None, 0.0).strip() == ""
