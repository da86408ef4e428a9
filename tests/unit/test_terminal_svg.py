"""Screenshots: what is on the screen is in the picture, on its place, and the picture is well-formed."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pyte
import pytest

from screenshots.terminal_svg import CELL, MARGIN, svg

_SVG = "{http://www.w3.org/2000/svg}"


def _screen(text: str) -> pyte.Screen:
    screen = pyte.Screen(20, 4)
    pyte.Stream(screen).feed(text)
    return screen


def test_words_stand_on_their_columns() -> None:
    root = ElementTree.fromstring(svg(_screen("ab  cd\r\n\x1b[1;38;2;1;2;3mbold\x1b[0m <&>")))
    words = {item.text: item for item in root.iter(f"{_SVG}text")}
    assert {"ab", "cd", "bold", "<&>"} <= set(words)
    assert float(words["cd"].attrib["x"]) == pytest.approx(MARGIN + 4 * CELL, abs=0.01)
    assert words["bold"].attrib["fill"] == "#010203"
    assert words["bold"].attrib["font-weight"] == "bold"


def test_lines_and_blocks_are_shapes_and_reverse_swaps() -> None:
    root = ElementTree.fromstring(svg(_screen("╭─│█▁\r\n\x1b[48;2;9;8;7;38;2;200;0;0;7mX\x1b[0m")))
    assert len(list(root.iter(f"{_SVG}path"))) == 3
    found = next(item for item in root.iter(f"{_SVG}text") if item.text == "X")
    assert found.attrib["fill"] == "#090807"
    assert any(item.attrib["fill"] == "#c80000" for item in root.iter(f"{_SVG}rect"))
