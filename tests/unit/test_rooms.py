"""The rooms and their arrows: who may import what, how long a file may be, what its text may not hold."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("protocol", "drivers", "helperd", "tui")
LONGEST = 420

ARROWS = {
    "protocol": {"protocol"},
    "drivers": {"drivers", "protocol"},
    "helperd": {"helperd", "drivers", "protocol"},
    "tui": {"tui", "protocol"},
}

# Module → the files that may import it. What has no line here is free.
ONLY_IN = {
    "pyroute2": ("helperd/kernel/*",),
    "zmq": ("helperd/front*.py", "helperd/zap.py", "protocol/client*.py", "protocol/blocking.py"),
    "dns": ("helperd/names/*",),
    "sqlite3": ("helperd/store*.py",),
    "socket": ("helperd/*", "protocol/client*.py", "tui/*.py"),
    "subprocess": ("helperd/*", "tui/*.py", "tui/terminal/*"),
    "textual": ("tui/*",),
    "psutil": ("helperd/*", "tui/*"),
}

# Drivers, and what else is pure: no socket, no clock, no file, no chance.
PURE = ("drivers/*", "helperd/plan*.py", "protocol/[ad-z]*.py")
IMPURE_MODULES = {
    *("asyncio", "socket", "select", "selectors", "ssl", "subprocess", "multiprocessing", "threading", "sqlite3"),
    *("time", "datetime", "random", "secrets", "tempfile", "shutil", "glob", "io", "signal", "ctypes", "fcntl"),
}
IMPURE_CALLS = {"open", "print", "input", "eval", "exec", "__import__"}

VAGUE = {"util", "utils", "helper", "helpers", "common", "misc", "manager"}
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|NotImplemented" r"Error)\b")
SILENCED = re.compile(r"type: *ignore *$|noqa *$|except(?: Exception)?: *pass")
# A home directory, but not /proc/PID/root/…
MACHINE_PATH = re.compile(r"/(?:home|Users)/\w+/|(?<![\w}])/root/\w")

SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import, `from a import b` as a.b; relative ones made absolute."""
    package = name(path).removesuffix(".py").split("/")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                yield node.lineno, ".".join([*above, *filter(None, [node.module]), alias.name])


def allowed(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name(path), pattern) for pattern in patterns)


def text_files() -> Iterator[Path]:
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [each for each in folders if each == ".ci" or not each.startswith((".", "__pycache__"))]
        yield from (Path(folder, file) for file in files if not file.startswith("."))


def test_every_room_is_there() -> None:
    assert {name(path).split("/")[0] for path in SOURCES} == set(ROOMS)


@pytest.mark.req("W9")
def test_arrows_point_one_way() -> None:
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in SOURCES
        for line, module in imports(path)
        if (top := module.split(".")[0]) in ROOMS and top not in ARROWS[name(path).split("/")[0]]
    ]
    assert not wrong


def test_each_gate_has_one_keeper() -> None:
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in SOURCES
        for line, module in imports(path)
        if (patterns := ONLY_IN.get(module.split(".")[0])) is not None and not allowed(path, patterns)
    ]
    assert not wrong


def test_libnftables_is_loaded_in_the_kernel_room_only() -> None:
    wrong = [
        name(path)
        for path in SOURCES
        if re.search(r"CDLL\(.*nftables|[\"']libnftables\.so", path.read_text())
        and not name(path).startswith("helperd/kernel/")
    ]
    assert not wrong


def test_pure_files_reach_for_nothing() -> None:
    wrong = []
    for path in SOURCES:
        if not allowed(path, PURE):
            continue
        wrong += [
            f"{name(path)}:{line} imports {module}"
            for line, module in imports(path)
            if module.split(".")[0] in IMPURE_MODULES
        ]
        wrong += [
            f"{name(path)}:{node.lineno} calls {node.func.id}"
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS
        ]
    assert not wrong


def test_private_parts_of_textual_stay_in_one_folder() -> None:
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in SOURCES
        if not name(path).startswith("tui/terminal/")
        for line, module in imports(path)
        if module.split(".")[0] == "textual" and any(part.startswith("_") for part in module.split("."))
    ]
    assert not wrong


def test_files_have_one_subject() -> None:
    files = [*SOURCES, *(ROOT / "tests").rglob("*.py")]
    long = [f"{name(path)}: {lines} lines" for path in files if (lines := path.read_text().count("\n")) > LONGEST]
    assert not long
    assert not [name(path) for path in files if path.stem in VAGUE]
    assert not [name(path) for path in files if VAGUE & set(path.relative_to(ROOT).parts[:-1])]


def test_nothing_is_unfinished_or_silenced() -> None:
    wrong = [
        f"{name(path)}:{number} {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNFINISHED.search(line) or SILENCED.search(line)
    ]
    assert not wrong


def test_no_path_of_a_machine() -> None:
    wrong = []
    for path in text_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        wrong += [f"{name(path)}: {hit[0]}" for hit in MACHINE_PATH.finditer(text)]
        if str(ROOT) + "/" in text:
            wrong.append(f"{name(path)}: {ROOT}")
    assert not wrong


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import zmq.asyncio", ["zmq.asyncio"]),
        ("from ..protocol import names", ["protocol.names"]),
        ("from .x import y", ["helperd.x.y"]),
        ("def late():\n    from tui import app", ["tui.app"]),
    ],
)
def test_the_reader_of_imports(source: str, found: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "helperd").mkdir()
    path = tmp_path / "helperd/sample.py"
    path.write_text(source)
    assert [module for _, module in imports(path)] == found
