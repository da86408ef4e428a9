"""What may be a name, and that nothing hostile reaches a terminal through one."""

from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.errors import InvalidValue
from protocol.names import (
    IFNAMSIZ,
    alias_name,
    aux_name,
    container_name,
    decode_kernel_text,
    display_text,
    label_key,
    link_name,
    mac_address,
    nearest,
    network_name,
    suggestion,
)

PATTERNS: dict[str, tuple[Callable[[str], str], int, str]] = {
    "network": (network_name, 63, "_.-"),
    "container": (container_name, 63, "_.-"),
    "link": (link_name, IFNAMSIZ - 1, "_.-"),
    "alias": (alias_name, 63, "_.-"),
    "label": (label_key, 128, "_./-"),
    "aux": (aux_name, 63, "_.-"),
}
# Whatever a hostile name is made of: everything, and what matters most more often.
hostile = st.text(
    st.one_of(st.characters(), st.sampled_from("\x00\x07\x1b\x7f\x85\x9b\n\r\t\u00a0\u00ad\u200b\u2028\u202e\ufeff\ue000\U000e0041[]/\\ "))
)


@given(hostile)
@example("\x1b]52;c;aGk=\x07")
@example("a\u202eb")
@example("\ud800")
def test_displayed_text_is_printable_and_can_be_encoded(value: str) -> None:
    shown = display_text(value)
    assert shown.isprintable()
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in shown)
    shown.encode("utf-8")


@given(hostile)
def test_displayed_text_keeps_what_is_harmless_and_does_not_change_again(value: str) -> None:
    shown = display_text(value)
    assert display_text(shown) == shown
    if value.isprintable():
        assert shown == value
    harmless = [char for char in value if char.isprintable()]
    rest = iter(shown)
    assert all(char in rest for char in harmless)


@given(st.binary(max_size=64))
def test_bytes_from_the_kernel_become_text_that_can_be_sent_and_shown(raw: bytes) -> None:
    text = decode_kernel_text(raw)
    text.encode("utf-8")
    assert display_text(text).isprintable()


def test_dockers_word_for_the_default_bridge_is_no_name_for_another() -> None:
    with pytest.raises(InvalidValue, match="it means the predefined network bridge"):
        network_name("default")


@given(st.text(string.printable, max_size=64))
def test_plain_bytes_stay_as_they_are(text: str) -> None:
    assert decode_kernel_text(text.encode()) == text


@pytest.mark.parametrize("kind", PATTERNS)
@given(data=st.data())
def test_a_name_is_taken_as_it_is_or_refused_in_one_printable_line(kind: str, data: st.DataObject) -> None:
    check, longest, others = PATTERNS[kind]
    value = data.draw(st.one_of(hostile, st.text(string.ascii_letters + string.digits + others, max_size=longest + 2)))
    try:
        assert check(value) == value
    except InvalidValue as error:
        assert (error.message.isprintable() and "expected" in error.message) or "reserved" in error.message
        return
    assert 1 <= len(value) <= longest and value.isascii()
    assert set(value) <= {*string.ascii_letters, *string.digits, *others}


@pytest.mark.parametrize("kind", PATTERNS)
@pytest.mark.parametrize("ending", ["\n", "\r", "\x00", " ", "\u2028"])
def test_no_name_may_end_in_what_a_pattern_could_overlook(kind: str, ending: str) -> None:
    check, longest, _ = PATTERNS[kind]
    assert check("web0") == "web0"
    for value in ("web0" + ending, ending, "w" * (longest - 1) + ending):
        with pytest.raises(InvalidValue):
            check(value)


@pytest.mark.parametrize("kind", PATTERNS)
def test_the_length_of_a_name(kind: str) -> None:
    check, longest, _ = PATTERNS[kind]
    assert check("w" * longest)
    for value in ("", "w" * (longest + 1)):
        with pytest.raises(InvalidValue):
            check(value)


@pytest.mark.parametrize("kind", PATTERNS)
@pytest.mark.parametrize("value", [".", "..", "../etc", "-o", "a/../b/", "a b", "a:b", "a%b", "ä", "\u0661", "web\u200b"])
def test_no_name_can_be_a_path_an_option_or_another_alphabet(kind: str, value: str) -> None:
    if kind == "label" and value == "a/../b/":
        return  # keys of labels name no file
    with pytest.raises(InvalidValue):
        PATTERNS[kind][0](value)


@pytest.mark.parametrize("value", ["all", "default", "lo"])
def test_link_names_that_the_kernel_uses(value: str) -> None:
    with pytest.raises(InvalidValue, match="reserved by the kernel"):
        link_name(value)


@given(st.integers(0, 2**48 - 1), st.sampled_from(":-"), st.booleans())
def test_a_mac_address_is_written_in_one_way(number: int, separator: str, upper: bool) -> None:
    plain = number.to_bytes(6, "big").hex(":")
    text = plain.replace(":", separator)
    text = text.upper() if upper else text
    if number == 0 or plain[1] in "13579bdf":
        with pytest.raises(InvalidValue, match="unicast"):
            mac_address(text)
    else:
        assert mac_address(text) == plain


@given(hostile)
@example("02:42:ac:11:00:02\n")
@example("02:42:ac:11:00")
@example("٠2:42:ac:11:00:02")
def test_what_is_no_mac_address_is_refused_in_one_printable_line(value: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        mac_address(value)
    assert caught.value.message.isprintable()


def test_the_nearest_known_name() -> None:
    assert nearest("brige", ["bridge", "host"]) == "bridge"
    assert nearest("zzz", ["bridge", "host"]) is None
    assert suggestion("hots", ["bridge", "host"]) == " (did you mean 'host'?)" and suggestion("zzz", ["host"]) == ""


@given(hostile, st.lists(st.sampled_from(["bridge", "host", "none", "macvlan"])))
def test_a_suggestion_is_one_of_the_known_names(value: str, known: list[str]) -> None:
    near = nearest(value, known)
    assert near is None or near in known
