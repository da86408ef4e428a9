"""``--format`` templates: what docker users type, and what is said where a field is unknown."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidValue
from tui.templates import parse, render

pytestmark = pytest.mark.req("W8")
ROWS = [
    {"ID": "a1", "Name": "web", "Labels": {"k.x": "v"}, "Internal": False, "IPAM": {"Config": [{"Subnet": "10.0.0.0/24"}]}, "None": None},
    {"ID": "b2", "Name": "a\x1b[2J", "Labels": {}, "Internal": True, "IPAM": {"Config": []}, "None": None},
]


@pytest.mark.parametrize(("template", "lines"), [
    ("{{.Name}}", ["web", "a\\x1b[2J"]),
    ("{{ .ID }}\\t{{.Internal}}", ["a1\tfalse", "b2\ttrue"]),
    ("{{json .IPAM.Config}}", ['[{"Subnet": "10.0.0.0/24"}]', "[]"]),
    ("x{{.IPAM.Config}}{{.None}}", ['x[{"Subnet": "10.0.0.0/24"}]', "x[]"]),
    ("{{json .Name}}", ['"web"', '"a\\u001b[2J"']),
    ("table {{.ID}}\\t{{.Name}}", ["NETWORK ID   NAME", "a1           web", "b2           a\\x1b[2J"]),
])
def test_fields_json_and_tables(template: str, lines: list[str]) -> None:
    assert render(parse(template), ROWS, {"ID": "NETWORK ID"}).splitlines() == lines


def test_the_whole_row_as_json() -> None:
    assert [json.loads(line) for line in render(parse("{{json .}}"), ROWS).splitlines()] == ROWS


@pytest.mark.parametrize(("template", "said"), [
    ("{{.name}}", "did you mean 'Name'"), ("{{.Nmae}}", "known are ID, IPAM, Internal, Labels, Name"), ("{{.IPAM.config}}", "in .IPAM"),
    ("{{.Name.First}}", "nothing is below it"), ("{{range .}}x{{end}}", "is not understood"), ("{{.Name", "is not closed"),
    ("{{index .Labels 1}}", "is not understood: expected {{.Field}}"),
    ('{{index .Networks "web" "IPAddress"}}', "expected {{.Networks.web.IPAddress}}"),
    ('{{(index .Networks "web").IPAddress}}', "expected {{.Networks.web.IPAddress}}"),
    ("{{range .Networks}}{{println .IPAddress}}{{end}}", "expected {{.Networks.NAME}} with"),
    ("{{range $k, $v := .Networks}}{{$k}} {{$v.IPAddress}}{{end}}", "expected {{.Networks.NAME.IPAddress}} with the name"),
])
def test_what_is_wrong_is_said(template: str, said: str) -> None:
    with pytest.raises(InvalidValue, match="(?s).*" + said.replace(".", r"\.")):
        render(parse(template), ROWS)


@given(st.text(alphabet="{}.|json table\\tn ab", max_size=30))
def test_no_text_breaks_it(text: str) -> None:
    with contextlib.suppress(InvalidValue):
        render(parse(text), ROWS)
