"""What the workstation makes of the helper's stream: tables, differences, rates."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.client import ConnectionState
from protocol.errors import BadRequest
from protocol.messages import Counters, Event, Snapshot
from protocol.model import Endpoint, Link, LogEntry, Namespace, Network
from tui.feed import LOG_KEPT, Batch, Feed
from tui.feed_tables import Table
from tui.rates import RateTable
from tui.rows import interfaces

pytestmark = [pytest.mark.req("W4"), pytest.mark.req("W5")]
HOST = 10


def counters(time: float, rows: dict[tuple[int, int], list[int]]) -> Counters:
    flat = [numbers[column] for column in range(8) for numbers in rows.values()]
    return Counters(1, time, struct.pack(f"<{len(rows)}Q", *(inode for inode, _ in rows)),
                    struct.pack(f"<{len(rows)}I", *(index for _, index in rows)), struct.pack(f"<{len(flat)}Q", *flat))


def numbers(rx: int, tx: int = 0) -> list[int]:
    return [rx, tx, rx // 10, tx // 10, 1, 2, 3, 4]


def test_rates_are_differences_over_the_time_between_messages() -> None:
    table = RateTable()
    assert table.take(counters(10.0, {(HOST, 1): numbers(1000), (HOST, 2): numbers(0)})) == {"10/1", "10/2"}
    table.take(counters(12.0, {(HOST, 1): numbers(5000, 20)}))
    rates = table.of("10/1")
    assert rates is not None and (rates.rx, rates.tx, rates.rx_packets, rates.errors, rates.drops) == (2000, 10, 200, 3, 7)
    assert rates.rx_total == 5000 and table.of("10/3") is None


def test_what_a_message_leaves_out_stood_still() -> None:
    table = RateTable()
    for time, rx in ((1.0, 0), (2.0, 100)):
        table.take(counters(time, {(HOST, 1): numbers(rx)}))
    assert table.active
    assert table.take(counters(3.0, {(HOST, 2): numbers(5)})) == {"10/1", "10/2"}
    table.take(counters(4.0, {(HOST, 1): numbers(150)}))
    assert table.of("10/1").rx == 50.0  # type: ignore[union-attr]
    assert table.quiet() == {"10/1"} and not table.active


def test_fewer_than_before_is_no_negative_rate() -> None:
    table = RateTable()
    for time, rx in ((1.0, 500), (2.0, 100), (2.0, 900)):
        table.take(counters(time, {(HOST, 1): numbers(rx)}))
        assert table.of("10/1").rx == 0.0  # type: ignore[union-attr]


def test_counters_of_wrong_lengths_are_refused() -> None:
    with pytest.raises(BadRequest):
        RateTable().take(Counters(1, 1.0, b"12345678", b"1234", b""))


@given(st.lists(st.dictionaries(st.integers(1, 5), st.integers(0, 2**64 - 1)), max_size=8))
def test_rates_are_never_below_zero(messages: list[dict[int, int]]) -> None:
    table = RateTable()
    for time, rows in enumerate(messages):
        table.take(counters(float(time), {(HOST, index): [rx] * 8 for index, rx in rows.items()}))
        for key in table.slots:
            rates = table.of(key)
            assert rates is not None and min(rates[:4]) >= 0
            assert table.active or max(rates[:4]) == 0


def feed_with(*rows: tuple[str, str, Any]) -> tuple[Feed, list[Batch]]:
    feed, batches = Feed(), list[Batch]()
    feed.subscribe(batches.append)
    feed.take(Snapshot(1, "e", 0, rows))
    return feed, batches


def test_a_second_snapshot_tells_only_what_differs() -> None:
    one, two = Network("1", "one", "bridge", 0.0), Network("2", "two", "bridge", 0.0)
    feed, batches = feed_with(("networks", "1", one), ("networks", "2", two))
    feed.take(Snapshot(1, "f", 0, (("networks", "2", msgspec.structs.replace(two, internal=True)), ("networks", "3", one))))
    assert batches[-1].changed["networks"] == {"2", "3"} and batches[-1].removed["networks"] == {"1": one}
    assert set(feed.networks) == {"2", "3"}


def test_what_comes_and_goes_in_one_event_is_neither() -> None:
    feed, batches = feed_with()
    link = Link(HOST, 5, "a")
    feed.take(Event(1, 1, (("links", "put", "10/5", link), ("links", "del", "10/5", None))))
    assert not batches[-1].changed.get("links") and feed.links_in(HOST) == ()
    feed.take(Event(1, 2, (("links", "put", "10/5", link), ("links", "put", "10/5", link))))
    assert batches[-1].changed == {"links": {"10/5"}}


def test_rows_are_found_by_what_they_belong_to() -> None:
    late, early = Endpoint("a", "n", "c", order=2), Endpoint("b", "n", "d", order=1)
    feed, _ = feed_with(("endpoints", "a", late), ("endpoints", "b", early), ("namespaces", "10", Namespace(HOST, host=True)),
                        ("links", "10/2", Link(HOST, 2, "br")), ("links", "10/1", Link(HOST, 1, "lo")))
    assert feed.host_inode == HOST
    assert feed.endpoints_of(network="n") == (early, late) and feed.endpoints_of(container="c") == (late,)
    assert [link.name for link in feed.links_in(HOST)] == ["lo", "br"]
    assert feed.link_named(HOST, "br") is not None and feed.link_named(HOST, "gone") is None
    feed.take(Event(1, 1, (("endpoints", "put", "a", msgspec.structs.replace(late, network="m")),)))
    assert feed.endpoints_of(network="n") == (early,)


def test_the_log_is_bounded_and_survives_a_helper_that_counts_anew() -> None:
    entries = tuple(("log", str(seq), LogEntry(seq, 100.0 + seq, "link", "up", "x")) for seq in range(LOG_KEPT + 10))
    feed, batches = feed_with(*entries)
    assert len(feed.log) == LOG_KEPT and feed.log[0].seq == 10
    again = LogEntry(LOG_KEPT, 100.0 + LOG_KEPT, "link", "up", "x")
    feed.take(Snapshot(1, "g", 0, (("log", "1", again), ("log", "2", LogEntry(1, 99_999.0, "link", "up", "y")))))
    assert [entry.subject for entry in batches[-1].log] == ["y"] and len(batches[-1].dropped) == 1
    assert len(feed.log) == LOG_KEPT


def test_a_lost_helper_leaves_everything_and_it_grows_old() -> None:
    now = [100.0]
    feed = Feed(clock=lambda: now[0])
    feed.connection_changed(ConnectionState(True, 0.0))
    feed.take(Snapshot(1, "e", 0, (("networks", "1", Network("1", "one", "bridge", 0.0)),)))
    now[0] = 107.0
    assert feed.age == 0.0
    feed.connection_changed(ConnectionState(False, 0.0, "closed"))
    assert feed.age == 7.0 and feed.reason == "closed" and feed.networks


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 2))), max_size=30))
def test_groups_always_hold_what_the_rows_say(steps: list[tuple[str, int | None]]) -> None:
    table: Table[int] = Table(value=lambda key, row: row)
    expected: dict[str, int] = {}
    for key, value in steps:
        if value is None:
            assert table.remove(key) == expected.pop(key, None)
        else:
            assert table.put(key, value) == (expected.get(key) != value)
            expected[key] = value
        for group in range(3):
            assert sorted(table.keys_in("value", group)) == sorted(name for name, row in expected.items() if row == group)


@pytest.mark.req("W7")
def test_a_link_of_the_host_names_the_networks_that_it_carries() -> None:
    feed, batches = feed_with(
        ("namespaces", "10", Namespace(HOST, host=True)),
        *(("links", f"{inode}/{index}", Link(inode, index, name)) for inode, index, name in (
            (HOST, 2, "eth0"), (HOST, 3, "eth1"), (HOST, 4, "eth2"), (20, 2, "eth0"))),
        ("networks", "1", Network("1", "two", "macvlan", 0.0, link="eth0")),
        ("networks", "2", Network("2", "one", "macvlan", 0.0, link="eth0")),
        ("networks", "3", Network("3", "floor", "bridge", 0.0, link="br-3", options={"uplink": "eth1"})))
    assert {key: interfaces.row(feed, key, link)["network"] for key, link in feed.links.items()} == {
        "10/2": "one, two", "10/3": "floor", "10/4": "", "20/2": ""}
    for key, links in (("2", {"10/2"}), ("3", {"10/3"})):
        feed.take(Event(1, 1, (("networks", "del", key, None),)))
        assert interfaces.touched(feed, batches[-1]) == links
    assert interfaces.row(feed, "10/2", feed.links["10/2"])["network"] == "two"
