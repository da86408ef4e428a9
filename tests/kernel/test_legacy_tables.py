"""Rules of iptables-legacy, which nft neither lists nor tells of: found, named, and helped by the commands that are shown."""

from __future__ import annotations

import pytest

from protocol.errors import InvalidValue
from tests.kernel.test_doctor import carried_out, findings
from tests.kernel.test_networks import attach, reaches
from tests.running_helper import RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures",)
pytestmark = pytest.mark.req("X9", "B11")

# iptables-legacy commands, what is said to drop ("": nothing), and words of it. BR stands for the bridge.
CASES: list[tuple[str, str, str]] = [
    ("-P FORWARD DROP", "foreign-drop.ip-legacy.filter.FORWARD", "the policy DROP of the chain FORWARD of iptables-legacy (IPv4)"),
    ("-A FORWARD -p udp -j ACCEPT; -A FORWARD -i BR ! -o BR -j DROP", "foreign-drop.ip-legacy.filter.FORWARD.2",
     "the rule `-A FORWARD -i BR ! -o BR -j DROP` of the chain FORWARD of iptables-legacy"),
    ("-N DOCKER-USER; -A FORWARD -j DOCKER-USER; -A DOCKER-USER -m conntrack --ctstate ESTABLISHED -m comment --comment x -j ACCEPT; "
     "-A DOCKER-USER -m addrtype --dst-type LOCAL -j ACCEPT; -A DOCKER-USER -j REJECT", "foreign-drop.ip-legacy.filter.DOCKER-USER.3",
     "-j REJECT"),
    ("-A FORWARD -i br+ -j ACCEPT; -A FORWARD -o BR -m state --state ESTABLISHED -j ACCEPT; -P FORWARD DROP", "", ""),
    ("-A FORWARD -s 203.0.113.0/24 -j DROP; -A FORWARD -m conntrack --ctstate INVALID -j DROP; -A INPUT -j DROP", "", ""),
]


def legacy(helper: RunningHelper, text: str) -> None:
    for line in text.split("; "):
        helper.host.run(f"iptables-legacy {line}")


@pytest.fixture(autouse=True)
def there(helper: RunningHelper) -> None:
    if "Chain" not in helper.host.run("unshare -n iptables-legacy -L FORWARD", check=False):
        pytest.skip("this kernel has no iptables-legacy (ip_tables, iptable_filter)")


@pytest.mark.parametrize(("rules", "ident", "words"), CASES, ids=[f"{number}" for number in range(len(CASES))])
def test_what_is_said_to_drop_does_drop(helper: RunningHelper, rules: str, ident: str, words: str) -> None:
    network = helper.call("network.create", name="a")["network"]
    attach(helper, "a", "c1")
    findings(helper)
    assert "filter" not in helper.host.run("cat /proc/net/ip_tables_names", check=False)  # a look makes no table
    legacy(helper, rules.replace("BR", network["link"]))
    assert reaches(helper, "c1", "192.0.2.1") == (ident == "")
    found = [row for row in findings(helper).values() if row["id"].startswith("foreign-drop") and "a" in row["networks"]]
    if not ident:
        assert not found
        return
    finding, = found
    assert finding["id"] == ident and words.replace("BR", network["link"]) in finding["what"] and not finding["automatic"]
    saved = helper.host.run("iptables-legacy-save -t filter | grep ^-A", check=False)
    assert any(line.startswith("iptables-legacy -I FORWARD") for line in finding["commands"])
    with pytest.raises(InvalidValue, match="Do it by hand"):
        helper.call("doctor.fix", id=ident)
    carried_out(helper, finding["commands"])
    assert reaches(helper, "c1", "192.0.2.1") and ident not in findings(helper)
    for line in finding["undo"]:
        helper.host.run(line)
    assert helper.host.run("iptables-legacy-save -t filter | grep ^-A", check=False) == saved and ident in findings(helper)


def test_a_table_that_cannot_be_read_is_told_and_one_that_changes_is_seen(helper: RunningHelper) -> None:
    attach(helper, "bridge", "c1")
    legacy(helper, "-P FORWARD DROP")
    until(lambda: any(entry["action"] == "blocked" for entry in helper.call("event.list")))  # nothing tells of it, so it is looked for
    helper.host.run("mount --bind /bin/false /usr/sbin/xtables-legacy-multi")
    found = findings(helper)
    assert "foreign-unread.ip-legacy" in found and not [ident for ident in found if ident.startswith("foreign-drop")]
    helper.host.run("umount /usr/sbin/xtables-legacy-multi")
    assert "foreign-unread.ip-legacy" not in findings(helper)
    told = helper.call("network.create", name="b")["warnings"]
    assert any("netdeck doctor --fix foreign-drop.ip-legacy.filter.FORWARD" in text for text in told)
