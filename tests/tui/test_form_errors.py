"""What is wrong in a form is said at once, not one thing after the other."""

from __future__ import annotations

import pytest

from tests.running_lab import Lab
from tests.tui.station import station
from tests.tui.test_forms import go_into, open_create
from tui.screens.forms.fields import TextField

pytestmark = pytest.mark.req("W5")


async def test_all_that_is_wrong_is_said_at_once(module_lab: Lab) -> None:
    """What can be seen here, and what only the helper knows: one round of mending and not three."""
    async with station(module_lab.socket, (120, 40)) as user:
        await open_create(user)
        fields = [field for field in user.app.screen.query(TextField) if field.region]
        assert len(fields) > 8
        assert not [field for field in fields if len(field.placeholder) > field.content_size.width], "no placeholder is cut"
        await user.type("a/b")
        await go_into(user, "subnet-0")
        await user.type("192.168.1.0/24")
        await go_into(user, "subnet-1")
        await user.type("10.5.0.0/24")
        await go_into(user, "gateway-1")
        await user.type("10.6.0.1")
        await go_into(user, "range-1")
        await user.type("10.7.0.0/25")
        await go_into(user, "option-name")
        await user.type("eth0")
        await go_into(user, "option-mtu")
        await user.type("20")
        await user.until(lambda: set(user.errors()) == {"name", "subnet:0", "subnet:1", "option:name", "option:mtu"}, "all are marked")
        errors = user.errors()
        assert "eth0" in errors["subnet:0"] and "not a bridge" in errors["option:name"]
        assert "gateway 10.6.0.1 is outside" in errors["subnet:1"] and "ip range 10.7.0.0/25 is outside" in errors["subnet:1"]
        assert user.shows("5 things to mend")
