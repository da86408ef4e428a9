"""The filter language of every list: one line of text → a predicate over rows.

    veth            the row's text contains "veth" (any case)
    "two words"     quoted, so that blanks and operators are text; \\" and \\\\ inside
    /^eth[0-9]/     the row's text matches the regular expression (any case)
    ns:web          field contains        ns:/^web-/   field matches
    state=up        field equals          state!=up    field differs
    rx>1M  mtu<=1500   numbers; > >= < <= = !=
    !term           not
    a b             both                  a | b        either; "both" binds tighter

Numbers take the units k, M, G, T (thousands) and Ki, Mi, Gi, Ti (of 1024). Rates are bytes per second; a `bit` after
the unit (`rx>10Mbit`) means bits per second, an eighth. Comparison of text ignores case. A row that has no value in
a numeric field matches no comparison with it but `!=`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

Value: TypeAlias = "str | float | int"


class FieldKind(Enum):
    """What a field holds, for the filter."""

    TEXT = "text"
    NUMBER = "number"


class Comparison(Enum):
    CONTAINS = ":"
    EQUAL = "="
    DIFFERENT = "!="
    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="


class FilterError(ValueError):
    """The text is no filter. `position` counts characters from 0; `expected` says what could stand there."""

    def __init__(self, message: str, position: int, expected: str) -> None:
        super().__init__(f"{message} at column {position + 1}: expected {expected}")
        self.message = message
        self.position = position
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Everything:
    """The empty filter."""


@dataclass(frozen=True, slots=True)
class Contains:
    """Some text of the row contains `text` (already case-folded)."""

    text: str


@dataclass(frozen=True, slots=True)
class Matches:
    """Some text of the row matches `pattern`."""

    pattern: str


@dataclass(frozen=True, slots=True)
class FieldText:
    """A text field compared with `text` (already case-folded); `comparison` is CONTAINS, EQUAL or DIFFERENT."""

    field: str
    comparison: Comparison
    text: str


@dataclass(frozen=True, slots=True)
class FieldMatches:
    """A text field matches `pattern`."""

    field: str
    pattern: str


@dataclass(frozen=True, slots=True)
class FieldNumber:
    """A numeric field compared with `number`."""

    field: str
    comparison: Comparison
    number: float


@dataclass(frozen=True, slots=True)
class Not:
    term: Node


@dataclass(frozen=True, slots=True)
class All:
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    terms: tuple[Node, ...]


Node: TypeAlias = "Everything | Contains | Matches | FieldText | FieldMatches | FieldNumber | Not | All | AnyOf"

_FIELD: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_.\-]*)(!=|<=|>=|:|=|<|>)")
_NUMBER: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([kKMGT])(i?))?(bit|B)?(?:/s)?\Z")
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f]{1,4}:[0-9A-Fa-f:./]*(?=[\s|]|\Z)")
_POWERS: Final = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}
_TEXT_COMPARISONS: Final = frozenset({Comparison.CONTAINS, Comparison.EQUAL, Comparison.DIFFERENT})
_LONGEST: Final = 1000


def parse(text: str, fields: Mapping[str, FieldKind]) -> Node:
    """The filter that `text` means, for rows with these fields; raises `FilterError`."""
    if len(text) > _LONGEST:
        raise FilterError("the filter is too long", _LONGEST, f"at most {_LONGEST} characters")
    return _Reader(text, fields).either()


def parse_number(text: str) -> float | None:
    """The number that `text` means, with its unit; None when it is none."""
    found = _NUMBER.match(text)
    if found is None:
        return None
    digits, unit, binary, suffix = found.groups()
    number = float(digits) * float(1024 if binary else 1000) ** _POWERS[unit or ""]
    return number / 8 if suffix == "bit" else number


def unparse(node: Node) -> str:
    """Text that `parse` turns into the same filter again (numbers may be written differently)."""
    match node:
        case Everything():
            return ""
        case Contains(text):
            return _quote(text)
        case Matches(pattern):
            return _slashes(pattern)
        case FieldText(field, comparison, text):
            return f"{field}{comparison.value}{_quote(text)}"
        case FieldMatches(field, pattern):
            return f"{field}:{_slashes(pattern)}"
        case FieldNumber(field, comparison, number):
            return f"{field}{comparison.value}{number:f}"
        case Not(term):
            return f"!{unparse(term)}"
        case All(terms):
            return " ".join(unparse(term) for term in terms)
        case AnyOf(terms):
            return " | ".join(unparse(term) for term in terms)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _slashes(pattern: str) -> str:
    return "/" + re.sub(r"(\\.)|/", lambda found: found.group(1) or r"\/", pattern, flags=re.DOTALL) + "/"


class _Reader:
    """Reads a filter from left to right."""

    def __init__(self, text: str, fields: Mapping[str, FieldKind]) -> None:
        self.text = text
        self.fields = fields
        self.at = 0

    def either(self) -> Node:
        if not self.text.strip():
            return Everything()
        terms = [self.both()]
        while self.at < len(self.text):
            self.at += 1  # both() stops only at a "|" or at the end
            terms.append(self.both())
        return terms[0] if len(terms) == 1 else AnyOf(tuple(terms))

    def both(self) -> Node:
        terms: list[Node] = []
        while not self._at_end_of_terms():
            terms.append(self.term())
        if not terms:
            raise FilterError("a term is missing", self.at, "a word, field:value, /regex/ or !term")
        return terms[0] if len(terms) == 1 else All(tuple(terms))

    def _at_end_of_terms(self) -> bool:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.at >= len(self.text) or self.text[self.at] == "|"

    def term(self) -> Node:
        denials = 0
        while self.text.startswith("!", self.at):
            self.at += 1
            denials += 1
        if denials and self._at_end_of_terms():
            raise FilterError("nothing follows the !", self.at, "a term to negate")
        node = self._plain_term()
        for _ in range(denials % 2):
            node = Not(node)
        return node

    def _plain_term(self) -> Node:
        if self.text.startswith("/", self.at):
            return Matches(self._pattern())
        if not self.text.startswith('"', self.at):
            field = _FIELD.match(self.text, self.at)
            if field is not None and not self._is_address(field):
                return self._field_term(field)
        return Contains(self._word("text").casefold())

    def _field_term(self, found: re.Match[str]) -> Node:
        name = found.group(1).lower()
        kind = self.fields.get(name)
        if kind is None:
            raise self._unknown_field(name)
        comparison = Comparison(found.group(2))
        self.at = found.end()
        value_at = self.at
        if kind is FieldKind.TEXT:
            if comparison not in _TEXT_COMPARISONS:
                raise FilterError(f"{name} is text", found.start(2), "one of : = !=")
            if self.text.startswith("/", self.at):
                pattern = FieldMatches(name, self._pattern())
                return Not(pattern) if comparison is Comparison.DIFFERENT else pattern
            return FieldText(name, comparison, self._word("a value").casefold())
        number = parse_number(self._word("a number"))
        if number is None:
            raise FilterError(f"{name} is a number", value_at, "digits with an optional unit such as 1500, 1.5k, 10M, 2Gi")
        return FieldNumber(name, Comparison.EQUAL if comparison is Comparison.CONTAINS else comparison, number)

    def _is_address(self, found: re.Match[str]) -> bool:
        """Whether what looks like `field:` begins an IPv6 or MAC address, as in fe80::1 or aa:bb:cc:dd:ee:ff."""
        return found.group(1).lower() not in self.fields and _ADDRESS.match(self.text, self.at) is not None

    def _unknown_field(self, name: str) -> FilterError:
        near = difflib.get_close_matches(name, self.fields, n=1, cutoff=0.5)
        hint = f"{near[0]} (fields: {', '.join(self.fields)})" if near else f"one of {', '.join(self.fields)}"
        return FilterError(f"field {name!r} is unknown", self.at, f"{hint}; or quote the text")

    def _word(self, expected: str) -> str:
        start = self.at
        if self.text.startswith('"', start):
            return self._quoted()
        while self.at < len(self.text) and not self.text[self.at].isspace() and self.text[self.at] != "|":
            self.at += 1
        if self.at == start:
            raise FilterError("the value is missing", start, expected)
        return self.text[start : self.at]

    def _quoted(self) -> str:
        start = self.at
        self.at += 1
        letters: list[str] = []
        while self.at < len(self.text):
            letter = self.text[self.at]
            self.at += 1
            if letter == '"':
                return "".join(letters)
            if letter == "\\" and self.at < len(self.text):
                letter = self.text[self.at]
                self.at += 1
            letters.append(letter)
        raise FilterError("the quotation is not closed", start, 'a closing "')

    def _pattern(self) -> str:
        start = self.at
        self.at += 1
        letters: list[str] = []
        while self.at < len(self.text):
            letter = self.text[self.at]
            self.at += 1
            if letter == "/":
                return self._checked("".join(letters), start)
            if letter == "\\" and self.at < len(self.text):
                following = self.text[self.at]
                self.at += 1
                letter = following if following == "/" else letter + following
            letters.append(letter)
        raise FilterError("the regular expression is not closed", start, "a closing /")

    def _checked(self, pattern: str, start: int) -> str:
        try:
            re.compile(pattern, re.IGNORECASE)
        except (re.error, OverflowError, RecursionError) as error:
            raise FilterError(f"the regular expression is wrong ({error})", start, "a Python regular expression") from None
        return pattern


#: Gives the value of one field of a row; for a text field a str, for a number a float or int (NaN: no value).
Column: TypeAlias = Callable[[int], Value]


def compile_filter(
    node: Node, column: Callable[[str], Column], text_columns: Sequence[Column]
) -> Callable[[int], bool]:
    """A function telling whether the row of a number passes.

    `column(field)` gives the reader of a field, `text_columns` are what free text searches.
    """
    match node:
        case Everything():
            return lambda row: True
        case Contains(text):
            return lambda row: any(text in str(read(row)).casefold() for read in text_columns)
        case Matches(pattern):
            search = re.compile(pattern, re.IGNORECASE).search
            return lambda row: any(search(str(read(row))) is not None for read in text_columns)
        case FieldText(field, comparison, text):
            return _text_test(column(field), comparison, text)
        case FieldMatches(field, pattern):
            read_field, search_field = column(field), re.compile(pattern, re.IGNORECASE).search
            return lambda row: search_field(str(read_field(row))) is not None
        case FieldNumber(field, comparison, number):
            return _number_test(column(field), comparison, number)
        case Not(term):
            test = compile_filter(term, column, text_columns)
            return lambda row: not test(row)
        case All(terms):
            tests = [compile_filter(term, column, text_columns) for term in terms]
            return lambda row: all(test(row) for test in tests)
        case AnyOf(terms):
            either = [compile_filter(term, column, text_columns) for term in terms]
            return lambda row: any(test(row) for test in either)


def _text_test(read: Column, comparison: Comparison, text: str) -> Callable[[int], bool]:
    if comparison is Comparison.CONTAINS:
        return lambda row: text in str(read(row)).casefold()
    if comparison is Comparison.EQUAL:
        return lambda row: str(read(row)).casefold() == text
    return lambda row: str(read(row)).casefold() != text


def _number_test(read: Column, comparison: Comparison, number: float) -> Callable[[int], bool]:
    compare = _COMPARE[comparison]
    return lambda row: compare(_as_number(read(row)), number)


def _as_number(value: Value) -> float:
    return math.nan if isinstance(value, str) else value


_COMPARE: Final[dict[Comparison, Callable[[float, float], bool]]] = {
    Comparison.EQUAL: lambda value, number: value == number,
    Comparison.DIFFERENT: lambda value, number: value != number,
    Comparison.LESS: lambda value, number: value < number,
    Comparison.AT_MOST: lambda value, number: value <= number,
    Comparison.GREATER: lambda value, number: value > number,
    Comparison.AT_LEAST: lambda value, number: value >= number,
}
