"""Tests of some rooms run in a process of their own meanwhile: nothing is lost, nothing runs twice, what goes wrong there is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timed

ROOT = Path(__file__).resolve().parents[2]
LINE = "import os, time\nimport pytest\ndef note(name):\n    open('notes', 'a').write(f'{name} {os.getpid()} {os.nice(0)}\\n')\n"
HERE = ("def test_first():\n    note('first')\n    end = time.monotonic() + 60\n"
        "    while len({line.split()[1] for line in open('notes')}) < 2 and time.monotonic() < end: time.sleep(0.05)\n")


def run(folder: Path, files: dict[str, str], *options: str) -> tuple[subprocess.CompletedProcess[str], dict[str, list[str]]]:
    """Run files of tests with this project's rules; what ended, and the process and its niceness that ran what: `note` says so."""
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(LINE + source)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "tests.meanwhile", "-p", "no:cacheprovider", "-q"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NETDECK_")}
    done = subprocess.run([*command, "-c", ROOT / "pyproject.toml", f"--rootdir={folder}", *options, folder], cwd=folder, timeout=200,
                          env={**environment, "CI": "", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    lines = (folder / "notes").read_text().splitlines()
    notes = {name: words for name, *words in (line.split() for line in lines)}
    assert len(notes) == len(lines), f"something ran twice: {lines}"
    return done, notes


def test_all_run_once_and_some_of_them_meanwhile_at_a_lower_priority(tmp_path: Path) -> None:
    done, notes = run(tmp_path, {
        "tests/kernel/test_a.py": HERE, "tests/wire/test_z.py": "def test_last(): note('last')\n",
        "tests/unit/test_b.py": "@pytest.mark.req('B2')\n@pytest.mark.parametrize('word', ['one two', '[x::y]', 'a\\nb'])\n"
                                "def test_c(word): note('c' + word[:1])\n@pytest.mark.timed\ndef test_timed(): note('timed')\n",
        "tests/fuzz/test_d.py": "def test_d(): note('d')\n"}, "--req-table", "table.md")
    assert done.returncode == 0 and "7 passed" in done.stdout, done.stdout + done.stderr
    here, there = notes["first"], notes["d"]
    assert here[0] != there[0] and there[1] == "2" and here[1] != "2"
    assert {name for name, words in notes.items() if words == there} == {"co", "c[", "ca", "d"}
    assert {name for name, words in notes.items() if words == here} == {"first", "last", "timed"}
    assert "| B2 |" in (tmp_path / "table.md").read_text()


def test_what_fails_there_fails_the_run_and_a_lost_process_is_told(tmp_path: Path) -> None:
    done, notes = run(tmp_path, {
        "tests/kernel/test_a.py": "def test_first(): note('first')\n",
        "tests/unit/test_b.py": "def test_wrong():\n    note('wrong')\n    assert 'left' == 'right'\n",
        "tests/unit/test_c.py": "def test_dies():\n    note('dies')\n    os._exit(7)\ndef test_later(): note('later')\n"})
    assert done.returncode == pytest.ExitCode.TESTS_FAILED and "3 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "the pytest that runs meanwhile ended before this test had (status 7)" in done.stdout and "'left' == 'right'" in done.stdout
    assert set(notes) == {"first", "wrong", "dies"}


def test_where_only_they_are_asked_for_they_run_here(tmp_path: Path) -> None:
    done, notes = run(tmp_path, {"tests/unit/test_b.py": "def test_b(): note('b')\n"})
    assert done.returncode == 0 and notes["b"][1] != "2", done.stdout + done.stderr
