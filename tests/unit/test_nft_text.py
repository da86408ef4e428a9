"""The table as text: golden files over the matrix of options (`NETDECK_UPDATE_GOLDEN=1` writes them anew), and what is refused."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.nft_text import comment, element_text, rule_text, table_text
from drivers.objects import HOST, Chain, Jump, Match, Rule
from helperd.kernel.nft_json import rule as rule_json
from protocol.errors import InvalidValue
from tests.unit.nft_tables import FAMILIES, GOLDEN, table_objects


@pytest.mark.req("B7")
@pytest.mark.parametrize("family", FAMILIES)
def test_golden_tables_over_the_matrix(family: str) -> None:
    text = table_text(table_objects(family))
    path = GOLDEN / f"table_{family}.nft"
    if os.environ.get("NETDECK_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_the_order_in_which_objects_are_given_is_of_no_matter() -> None:
    objects = table_objects("dual")
    assert table_text(objects) == table_text(reversed(objects))


@given(st.text(max_size=300))
def test_no_comment_leaves_its_quotes(text: str) -> None:
    shown = comment(text)
    assert len(shown.encode()) <= 127 and not set(shown) & set('"\\\n\r\0\x1b')


@given(st.text(max_size=40), st.text(max_size=20), st.text(max_size=40))
def test_a_value_is_refused_or_stays_one_word(left: str, right: str, verdict: str) -> None:
    for made in (
        Rule((Match(left, (right,)),), "drop", ""),
        Rule((Match("iifname", (right,)),), "drop", ""),
        Rule((Match("ip saddr", (right,)),), "drop", ""),
        Rule((), verdict, ""),
    ):
        try:
            text = rule_text(made)
        except InvalidValue:
            with pytest.raises(InvalidValue):
                rule_json("chain", made)
            continue
        rule_json("chain", made)
        assert text.isprintable() and text.count('"') == 2 * sum(item.left == "iifname" for item in made.matches) + 2
        assert not set(text) & set(";{}`$\\")


@pytest.mark.parametrize(
    "broken",
    [
        Match("ip saddr", ()),
        Match("ip saddr", ("10.0.0.1; drop",)),
        Match("nosuch field", ("1",)),
        Match("iifname", ("br*",)),
        Match("iifname", ('a"b',)),
        Match("tcp dport", ("80",), "<"),
        Match("ct nosuch", ("1",)),
        Match("fib daddr mark", ("1",)),
        Match("ip6 saddr", ("fe80::1%eth0;drop",)),
        Match("ip saddr", ("0/",)),
        Match("ip saddr", ("10.0.0.0/255.0.0.0",)),
    ],
)
def test_matches_that_are_not_in_the_grammar(broken: Match) -> None:
    with pytest.raises(InvalidValue):
        rule_text(Rule((broken,), "drop", ""))


def test_names_that_are_not_in_the_grammar() -> None:
    for name in ("", "a b", "a;b", "-a", "a" * 200, 'a"b'):
        with pytest.raises(InvalidValue):
            table_text([Chain(HOST, name, ())])
        with pytest.raises(InvalidValue):
            element_text(Jump(HOST, "forward-to", "br0", name))
        with pytest.raises(InvalidValue):
            table_text([Jump(HOST, name, "br0", "a")])
