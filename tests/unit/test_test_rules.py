"""The rules of every test run: requirement ids must exist, a skip on a CI machine fails, the table of what works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirement_table import BEGIN, END, requirement_texts, table, write_table

ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path, source: str, *options: str, ci: str = "") -> subprocess.CompletedProcess[str]:
    """Runs pytest with this project's rules on one file of its own."""
    (folder / "test_sample.py").write_text("import pytest\n" + source)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-q"]
    return subprocess.run(
        [*command, "-c", ROOT / "pyproject.toml", f"--rootdir={folder}", *options, folder / "test_sample.py"],
        env={**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_unknown_id_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, "@pytest.mark.req('B2', 'B99')\ndef test_it(): pass\n")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "'B99'" in done.stderr


@pytest.mark.parametrize("source", ["def test_it(): pytest.skip('why')\n", "pytest.importorskip('no_such_module')\n"])
def test_a_skip_is_a_failure_on_a_ci_machine(tmp_path: Path, source: str) -> None:
    assert run(tmp_path, source).returncode in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    done = run(tmp_path, source, ci="true")
    assert done.returncode not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    assert "a CI machine runs every test" in done.stdout


def test_no_tests_is_a_failure(tmp_path: Path) -> None:
    assert run(tmp_path, "").returncode == pytest.ExitCode.NO_TESTS_COLLECTED


def test_the_table_is_written_from_the_run(tmp_path: Path) -> None:
    source = (
        "@pytest.mark.req('B2', 'X1')\ndef test_a(): pass\n"
        "@pytest.mark.req('B2')\n@pytest.mark.parametrize('n', [1, 2])\ndef test_b(n): assert n == 1\n"
        "@pytest.fixture\ndef late():\n    yield\n    raise ValueError\n"
        "@pytest.mark.req('D1')\ndef test_c(late): pass\n"
    )
    page = tmp_path / "PAGE.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    run(tmp_path, source, "--req-table", str(page))
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| id |") and text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    rows = {line.split("|")[1].strip(): line.split("|")[3].strip() for line in text.splitlines() if line[:3] > "| "}
    assert (rows["B2"], rows["X1"], rows["D1"]) == ("✘ 1 of 3 failed", "✔ 1", "✘ 1 of 1 failed")
    assert "Not there yet: D2," in text


def test_a_page_without_markers_is_the_table_alone(tmp_path: Path) -> None:
    text = table(requirement_texts(), [("B2", "passed"), ("B3", "skipped"), ("B2", "skipped")])
    write_table(tmp_path / "new.md", text)
    assert (tmp_path / "new.md").read_text() == text
    assert "✔ 1, 1 not run" in text and "| 1 not run |" in text
