"""The README's commands and scripts, run as they stand there, in a lab."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.running_lab import Lab
from tests.simulated_host import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    return [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]


@pytest.fixture
def netdeck(tmp_path: Path) -> str:
    """A stand-in for ./netdeck that runs this interpreter and sets nothing up."""
    script = tmp_path / "netdeck"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -P -m tui "$@"\n')
    script.chmod(0o755)
    return str(script)


@pytest.mark.req("B2", "B6")
def test_the_first_steps(lab: Lab, netdeck: str) -> None:
    assert len(commands()) > 15
    # A kernel without CONFIG_BRIDGE_VLAN_FILTERING has no floor3, one without 802.1Q or ipvlan no staff.
    left_out = [word for word, probe in (
        (" floor3", "ip link add probe type bridge vlan_filtering 1"),
        (" staff", "ip link add link eth0 name probe type ipvlan && ip link del probe && ip link add link eth0 name probe type vlan id 3"),
    ) if "made" not in lab.run(f"{probe} && ip link del probe && echo made", check=False)]
    for line in (line for line in commands() if not any(word in line for word in left_out)):
        process = lab.popen(line.replace("./netdeck", netdeck))
        said, _ = process.communicate(timeout=60)
        expected = 1 if "# refused" in line else 0
        assert process.returncode == expected, f"{line}: exit code {process.returncode}\n{said}"
        if expected:
            assert "shop" in said and said.count("\n") == 1
    assert [row["name"] for row in lab.ask("network", "ls", "--format", "json")] == ["bridge", "host", "none", "from-json"]


def test_the_scripts(lab: Lab) -> None:
    with_client, bare = blocks("python")
    assert "'chosen': False" in lab.python(with_client)
    said = lab.python(bare)
    assert "'type': 'welcome'" in said and "'type': 'result'" in said and "'name': 'bridge'" in said


def test_the_markers_of_the_table_are_there() -> None:
    assert README.count("<!-- works -->") == README.count("<!-- /works -->") == 1
