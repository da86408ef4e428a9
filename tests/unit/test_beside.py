"""The tests run in two processes as they do in one: nothing is lost, nothing runs twice, and what goes wrong in either is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timed

ROOT = Path(__file__).resolve().parents[2]
LINE = "import os, time\nimport pytest\ndef note(name):\n    open('notes', 'a').write(f'{name} {os.getpid()}\\n')\n    time.sleep(0.05)\n"


def run(folder: Path, files: dict[str, str], *options: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """Run files of tests with this project's rules; what ended, and which process ran what: `note` in a test says so."""
    for name, source in files.items():
        (folder / f"test_{name}.py").write_text(LINE + source)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "tests.beside", "-p", "no:cacheprovider", "-q"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NETDECK_")}
    done = subprocess.run([*command, "-c", ROOT / "pyproject.toml", f"--rootdir={folder}", *options, folder], cwd=folder,
                          env={**environment, "CI": "", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    lines = (folder / "notes").read_text().splitlines()
    notes = dict(line.split() for line in lines)
    assert len(notes) == len(lines), f"something ran twice: {lines}"
    return done, notes


def test_all_run_once_in_two_processes_and_alone_is_first(tmp_path: Path) -> None:
    files = {f"f{number}": f"def test_a(): note('a{number}')\ndef test_b(): note('b{number}')\n" for number in range(8)}
    files["a"] = (  # the first to be shared; until the other process has run something
        "def test_first():\n    note('first')\n    end = time.monotonic() + 60\n"
        "    while len({line.split()[1] for line in open('notes')}) < 2 and time.monotonic() < end: time.sleep(0.05)\n")
    files["f5"] += "@pytest.mark.alone\ndef test_alone(): note('alone')\n"
    files["f6"] += ("@pytest.mark.req('B2')\n@pytest.mark.parametrize('word', ['one two', '[x::y]'])\n"
                    "def test_c(word): note('c' + word[:2])\n")
    done, notes = run(tmp_path, files, "--req-table", "table.md")
    assert done.returncode == 0 and "20 passed" in done.stdout, done.stdout + done.stderr
    assert list(notes)[:3] == ["a5", "b5", "alone"]
    assert len(set(notes.values())) == 2
    assert all(notes[f"a{number}"] == notes[f"b{number}"] for number in range(8)), "a file is run by one process"
    assert re.search(r"\| B2 \|.*\| ✔ 2 \|", (tmp_path / "table.md").read_text())


def test_what_fails_in_either_fails_the_run_and_a_lost_process_loses_its_file_only(tmp_path: Path) -> None:
    files = {f"f{number}": f"def test_a(): note('a{number}')\ndef test_b(): note('b{number}')\n" for number in range(6)}
    # The second begins with the last file. This one is at it until then.
    files["a"] = ("def test_a():\n    note('a')\n    while not os.path.exists('dead'): time.sleep(0.05)\n"
                  "def test_wrong(): assert 'left' == 'right'\n")
    files["z"] = "def test_a(): note('z')\ndef test_dies():\n    open('dead', 'w')\n    os._exit(7)\ndef test_later(): note('later')\n"
    done, notes = run(tmp_path, files)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "3 failed, 14 passed" in done.stdout, done.stdout + done.stderr
    assert "the second pytest ended before this test had (status 7)" in done.stdout and "'left' == 'right'" in done.stdout
    assert set(notes) == {"a", "z", *(f"{name}{number}" for number in range(6) for name in "ab")}
