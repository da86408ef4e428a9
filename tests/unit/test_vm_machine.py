"""What the virtual machine of the tests says is believed only when it is whole: no boot, no end, no report are failures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reports_elsewhere import REPORTS
from tests.vm.kernel import cpio
from tests.vm.machine import Machine

pytestmark = pytest.mark.timed

ROOT = Path(__file__).resolve().parents[2]


def test_reports_come_as_they_are_made() -> None:
    machine = Machine(["t::a", "t::b"], ("sleep", "60"))
    try:
        lines = '{"begun": 21.5}\n{"test": "t::a", "report": {"x": 1}}\n{"done": "t::a"}\n{"test": "t::b", "re'
        (machine.out / REPORTS).write_text(lines)
        assert machine.reports_of("t::a") == [{"x": 1}] and machine.whole("t::a") and machine.begun == 21.5
        assert not machine.whole("t::b") and not machine.trouble
    finally:
        machine.close()


def test_a_machine_that_ends_early_is_trouble_and_its_last_words_are_told() -> None:
    machine = Machine(["t::a"], ("sh", "-c", "echo no memory; exit 3"))
    try:
        assert machine.reports_of("t::a") == [] and not machine.whole("t::a")
        assert "status 3" in machine.trouble and "no memory" in machine.trouble
    finally:
        machine.close()


def test_a_machine_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "begin_seconds", 0.2)
    machine = Machine(["t::a"], ("sleep", "60"))
    try:
        assert machine.reports_of("t::a") == [] and "did not come up" in machine.trouble
    finally:
        machine.close()


def test_an_archive_is_what_busybox_unpacks(tmp_path: Path) -> None:
    (tmp_path / "a.cpio").write_bytes(cpio([("dir", 0o40755, b""), ("dir/file", 0o100644, b"text\n")]))
    subprocess.run(["busybox", "cpio", "-i", "-F", "a.cpio"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "dir/file").read_text() == "text\n"


@pytest.mark.root
def test_tests_that_get_no_machine_fail(tmp_path: Path) -> None:
    """The whole way from pytest, on a host where QEMU is not found."""
    (tmp_path / "ip").symlink_to("/bin/false")  # the running kernel is found to lack links
    (tmp_path / "sitecustomize.py").write_text("import shutil\nshutil.which = lambda *args, **kw: None\n")
    test = "tests/vm/test_parents.py::test_a_link_carries_one_kind"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("NETDECK_")}
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", test], cwd=ROOT, capture_output=True, text=True,
                          env={**kept, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path), "CI": "true"},
                          timeout=110, check=False)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED and "can't be started" in done.stdout, done.stdout + done.stderr
