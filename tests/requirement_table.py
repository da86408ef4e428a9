"""The requirement ids, which tests proved them, and the table of what works."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

OUTCOMES = pytest.StashKey[dict[str, tuple[str, list[str]]]]()
REQUIREMENTS = Path(__file__).with_name("requirements.toml")
BEGIN = "<!-- works -->"
END = "<!-- /works -->"
PROPERTY = "requirement"


def requirement_texts() -> dict[str, str]:
    """Every id with its short text, in the order of requirements.toml."""
    groups: Mapping[str, Mapping[str, str]] = tomllib.loads(REQUIREMENTS.read_text())
    return {key: text for group in groups.values() for key, text in group.items()}


def keep(config: pytest.Config, report: pytest.TestReport) -> None:
    """The worst phase of a test is its outcome."""
    keys = [str(value) for name, value in report.user_properties if name == PROPERTY]
    rank = ("passed", "skipped", "failed")
    before = config.stash[OUTCOMES].get(report.nodeid, ("passed", keys))[0]
    config.stash[OUTCOMES][report.nodeid] = (max(before, report.outcome, key=rank.index), keys)


def table(texts: Mapping[str, str], outcomes: Iterable[tuple[str, str]]) -> str:
    """The markdown table. `outcomes`: (id, "passed" or "failed" or "skipped"), one for each test and id."""
    counts: dict[str, Counter[str]] = {key: Counter() for key in texts}
    for key, outcome in outcomes:
        counts[key][outcome] += 1
    lines = ["| id | what | tests |", "| --- | --- | --- |"]
    lines += [f"| {key} | {texts[key]} | {_state(count)} |" for key, count in counts.items() if count]
    absent = [key for key, count in counts.items() if not count]
    if absent:
        lines += ["", f"Not there yet: {', '.join(absent)}."]
    return "\n".join(lines) + "\n"


def write_table(path: Path, text: str) -> None:
    """Writes the table between the markers of a page that has them, else as the whole file."""
    page = path.read_text() if path.exists() else ""
    if BEGIN in page and END in page:
        head, rest = page.split(BEGIN, 1)
        tail = rest.split(END, 1)[1]
        text = f"{head}{BEGIN}\n{text}{END}{tail}"
    path.write_text(text)


def _state(count: Counter[str]) -> str:
    if count["failed"]:
        return f"✘ {count['failed']} of {count.total()} failed"
    if count["skipped"]:
        return f"✔ {count['passed']}, {count['skipped']} not run" if count["passed"] else f"{count['skipped']} not run"
    return f"✔ {count['passed']}"
