"""Ports that are published on the network `host`."""

from __future__ import annotations

import pytest

from tests.running_helper import RunningHelper

pytest_plugins = ("tests.kernel.helper_fixtures",)
WORDS = "Published ports are discarded when using host network mode"


@pytest.mark.req("H2", "H1")
def test_they_are_discarded_with_dockers_warning(helper: RunningHelper) -> None:
    answer = helper.call("container.run", command=["sleep", "60"], networks=["host"], publish=["8080:80"], detach=True, name="h")
    assert WORDS in answer["warnings"]
    said = helper.command("run", "--rm", "--network", "host", "-p", "8080:80", "--", "true", check=False)
    assert said == f"netdeck: warning: {WORDS}\n"
    assert ":8080" not in helper.host.run("ss -Hltn")


@pytest.mark.req("H2")
def test_without_published_ports_nobody_is_warned(helper: RunningHelper) -> None:
    answer = helper.call("container.run", command=["sleep", "60"], networks=["host"], detach=True)
    assert answer["warnings"] == []
