"""The overview page as a program: sections, commands with what they print, and who reaches whom."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.vm.site import Site

PAGE = Path(__file__).with_name("overview.md")
_META = re.compile(r"<!-- (?P<any>any kernel: )?(?P<ids>[A-Z0-9 ]+) -->")
_PROMPT = re.compile(r"(?P<who>[a-z0-9_-]*)\$ (?P<line>.*?)(?:  # fails(?: (?P<code>\d+))?: (?P<words>.*))?\Z")
_REACH = re.compile(r"(?P<who>\S+) -(?P<sign>[>x]) (?P<target>\S+)")


@dataclass(frozen=True, slots=True)
class Section:
    """`blocks` are (language, lines); `anywhere` where every kernel has what it needs."""

    title: str
    requirements: tuple[str, ...]
    anywhere: bool
    blocks: tuple[tuple[str, tuple[str, ...]], ...]

    def __str__(self) -> str:
        return self.title


def sections(page: Path = PAGE) -> list[Section]:
    """The sections of the page, in order."""
    found: list[Section] = []
    for part in page.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        meta = _META.search(text)
        assert meta is not None, f"section {title!r} names no requirement"
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        found.append(Section(title, tuple(meta["ids"].split()), bool(meta["any"]),
                             tuple((language, tuple(lines.splitlines())) for language, lines in blocks)))
    return found


def carry_out(site: Site, section: Section) -> None:
    """Run a section. Raises AssertionError with the line that did not do what the page says."""
    for language, lines in section.blocks:
        if language == "reach":
            site.meet(*(_reach(line) for line in lines))
        else:
            _commands(site, lines)


def _reach(line: str) -> tuple[str, str, bool]:
    found = _REACH.fullmatch(line)
    assert found is not None, f"not of the form 'WHO -> ADDRESS': {line}"
    return (found["who"] if found["who"] == "outside" else "@" + found["who"], found["target"], found["sign"] == ">")


def _commands(site: Site, lines: tuple[str, ...]) -> None:
    said, command = "", ""
    for line in lines:
        prompt = _PROMPT.match(line)
        if prompt is None:
            _expect(command, line, said)
            continue
        command = line
        fails, words = int(prompt["code"] or 1) if prompt["words"] else 0, prompt["words"] or ""
        said = _run(site, prompt["who"], prompt["line"], fails)
        if words:
            _expect(command, words, said)


def _run(site: Site, who: str, line: str, fails: int) -> str:
    if line.startswith("netdeck ") and not who:
        return site.netdeck(line.removeprefix("netdeck "), code=fails)
    line = line.replace("wget ", "busybox wget ") if line.startswith("wget ") else line
    if who in ("", "outside"):
        return site.sh(line, who)
    if line.startswith(("busybox wget", "getent")):  # with the container's own resolv.conf
        return site.netdeck(f"exec {who} sh -c '{line}'")
    return site.inside(who, line)


def _expect(command: str, wanted: str, said: str) -> None:
    lines = said.split("\n")[:-1]
    match wanted:
        case "(nothing)":
            right = not lines
        case "(nothing but netdeck0)":
            right = {row.split(":")[1].strip() for row in lines if row[:1].isdigit()} <= {"netdeck0"}
        case "(1 line)":
            right = len(lines) == 1
        case _:
            right = " ".join(wanted.split()) in " ".join(said.split())
    assert right, f"{command}\nshould print {wanted!r}, and printed:\n{said}"
