"""The example of CONTRIBUTING.md works: built as a package of its own, installed, found through its entry point, planned."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timed

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

# Runs where the package is installed, and plans a network with one container as the helper does.
SCRIPT = """
import json, sys
import msgspec
from drivers.driver import HostView, parse_options, registry
from helperd.plan import plan, undo
from protocol.model import Endpoint, Network, Subnet

driver = registry()["segment"]
network = Network(id="1" * 64, name="quiet", driver="segment", created=0.0, ipv6=True,
                  subnets=(Subnet(subnet="10.7.0.0/24", gateway="10.7.0.1"), Subnet(subnet="fd00:7::/64", gateway="fd00:7::1")),
                  options=parse_options(driver.info, {"mtu": "1400"}))
network = driver.check(network, HostView("0a1b2c3d"), ())
endpoint = driver.check_endpoint(network, Endpoint(
    id="2" * 64, network=network.id, container="c1", ifname="eth0", mac="02:00:00:00:00:07",
    addresses=("10.7.0.2/24", "fd00:7::2/64")), ())
objects = (*driver.network_objects(network, "0a1b2c3d"), *driver.endpoint_objects(network, endpoint, "0a1b2c3d"),
           *driver.default_routes(network, endpoint))
steps = plan(objects, ())
assert len(undo(steps)) == len(steps) == len(objects)
json.dump({"module": sys.modules["netdeck_segment"].__file__, "network": msgspec.to_builtins(network),
           "objects": [msgspec.to_builtins(step.object) for step in steps]}, sys.stdout)
"""


def example(name: str) -> str:
    """The fenced block that follows the line with the file's name."""
    found = re.search(rf"^`{re.escape(name)}`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"CONTRIBUTING.md has no example {name}"
    return found.group(1)


def pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, "--no-deps", "--no-index", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.req("D1")
def test_the_example_driver_is_built_installed_and_loaded_through_its_entry_point(tmp_path: Path) -> None:
    source, wheels, site = tmp_path / "netdeck-segment", tmp_path / "wheels", tmp_path / "site"
    source.mkdir()
    for name in ("netdeck_segment.py", "pyproject.toml"):
        (source / name).write_text(example(name), encoding="utf-8")
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(wheels), str(source))
    (wheel,) = wheels.glob("*.whl")
    pip("install", "--target", str(site), str(wheel))

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(site)))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["module"] == str(site / "netdeck_segment.py")
    assert found["network"]["link"] == "seg-" + "1" * 11
    kinds = [item["object"] for item in found["objects"]]
    assert kinds == ["bridge", "chain", "jump", "veth", *["sysctl"] * 3, *["address"] * 2, *["up"] * 2]
    assert found["objects"][0]["mtu"] == 1400
    assert {item["place"] for item in found["objects"] if item["object"] == "address"} == {"c1"}


def test_the_page_names_tests_and_files_that_exist() -> None:
    for path in set(re.findall(r"(?:tests|drivers|helperd)/[\w/.-]+\.py", PAGE)):
        assert (ROOT / path).is_file(), path
    for path, word in re.findall(r"\./test (\S+) -k (\w+)", PAGE):
        assert re.search(rf"def test_\w*{word}", (ROOT / path).read_text(encoding="utf-8")), word
