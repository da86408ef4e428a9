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
    ("{{range .IPAM.Config}}{{.Subnet}} {{end}}!", ["10.0.0.0/24 !", "!"]),
    ("{{range $i, $c := .IPAM.Config}}{{$i}}: {{$c.Subnet}} {{json $c}}{{end}}", ['0: 10.0.0.0/24 {"Subnet": "10.0.0.0/24"}', ""]),
    ("{{range $k, $v := .Labels}}{{$k}}={{$v}}={{.}};{{end}}", ["k.x=v=v;", ""]),
    ("{{range $v := .Labels}}{{$v}}{{end}}", ["v", ""]),
    ("table {{.ID}}\\t{{.Name}}", ["NETWORK ID   NAME", "a1           web", "b2           a\\x1b[2J"]),
])
def test_fields_json_and_tables(template: str, lines: list[str]) -> None:
    assert render(parse(template), ROWS, {"ID": "NETWORK ID"}).splitlines() == lines


def test_one_of_a_list_and_one_of_a_map() -> None:
    for template in ("{{(index .IPAM.Config 0).Subnet}}", "{{.IPAM.Config.0.Subnet}}"):
        assert render(parse(template), ROWS[:1]) == "10.0.0.0/24\n"
    assert render(parse('{{index .Labels "k.x"}}'), ROWS[:1]) == "v\n"


def test_the_whole_row_as_json() -> None:
    assert [json.loads(line) for line in render(parse("{{json .}}"), ROWS).splitlines()] == ROWS


@pytest.mark.parametrize(("template", "said"), [
    ("{{.name}}", "did you mean 'Name'"), ("{{.Nmae}}", "known are ID, IPAM, Internal, Labels, Name"), ("{{.IPAM.config}}", "in .IPAM"),
    ("{{.Name.First}}", "nothing is below it"), ("{{range .}}x{{end}}", "is not understood"), ("{{.Name", "is not closed"),
    ("{{index .Labels 1}}", "no field '1' in .Labels: known are k.x"),
    ("{{(index .IPAM.Config 7).Subnet}}", "no field '7' in .IPAM.Config"),
    ("{{range .IPAM.Config}}{{.Subnet}}", "expected {{end}} behind it"), ("{{range .Name}}{{.}}{{end}}", "neither a list nor a map"),
    ("{{range .Labels}}{{range .A}}{{end}}{{end}}", "is not understood"), ("{{range $v := .Labels}}{{$w}}{{end}}", "is not understood"),
    ("{{$v}}", "is not understood"), ("{{end}}", "is not understood"), ("{{range .Labels}}{{println .}}{{end}}", "expected {{.Field}}"),
])
def test_what_is_wrong_is_said(template: str, said: str) -> None:
    with pytest.raises(InvalidValue, match="(?s).*" + said.replace(".", r"\.")):
        render(parse(template), ROWS)


@given(st.text(alphabet="{}.|json table\\tn ab", max_size=30))
def test_no_text_breaks_it(text: str) -> None:
    with contextlib.suppress(InvalidValue):
        render(parse(text), ROWS)
