"""A peer that sends rubbish of every kind: ``python -m tests.wire.attacker PATH COUNT SEED``. Prints what it sent, and how often."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable

import msgpack
import zmq

VALID: tuple[dict[str, object], ...] = (
    {"type": "hello", "version": 1},
    {"type": "call", "id": 1, "op": "echo", "args": {"name": "web", "options": {"mtu": "1500"}}},
    {"type": "input", "id": 1, "data": b"ls\n", "resize": [24, 80]},
    {"type": "cancel", "id": 1},
    {"type": "subscribe", "id": 2, "topics": ["links", "routes"], "credit": 8, "inodes": [4026531840]},
    {"type": "credit", "id": 2, "n": 5},
    {"type": "watch", "id": 2, "links": [[4026531840, 2]], "period": 0.1},
    {"type": "unsubscribe", "id": 2},
    {"type": "ping"},
)
STRANGE: tuple[object, ...] = (None, True, -1, 2**64 - 1, 1.5, float("nan"), "", "x" * 300, b"\xff", [], {}, [[]], {"a": {}}, "\x1b[31m")


def random_bytes(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 2, 7, 40, 300, 2000)))


def mutated(rng: random.Random) -> bytes:
    body = bytearray(msgpack.packb(rng.choice(VALID)))
    for _ in range(rng.randint(1, 4)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    return bytes(body[: rng.choice((len(body), len(body), rng.randrange(len(body) + 1)))])


def wrong_types(rng: random.Random) -> bytes:
    message = dict(rng.choice(VALID))
    message[rng.choice(list(message))] = rng.choice(STRANGE)
    return bytes(msgpack.packb(message))


def unknown_fields(rng: random.Random) -> bytes:
    return bytes(msgpack.packb({**rng.choice(VALID), rng.choice(("args2", "uid", "__class__", "")): rng.choice(STRANGE)}))


def unknown_type(rng: random.Random) -> bytes:
    return bytes(msgpack.packb({"type": rng.choice(("welcome", "result", "_call", "Call", "", 7)), "id": 1}))


def deep(rng: random.Random) -> bytes:
    return rng.choice((b"\x91", b"\x81\xa1a")) * rng.choice((17, 400, 1000, 60_000)) + b"\xc0"


def huge_headers(rng: random.Random) -> bytes:
    return rng.choice((b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff")) + b"a" * 9


def huge_arrays(rng: random.Random) -> bytes:
    return bytes(msgpack.packb({"type": "call", "id": 3, "op": "echo", "args": {"a": [[0] * 4000 for _ in range(rng.randint(1, 6))]}}))


def extensions(rng: random.Random) -> bytes:
    ext = msgpack.ExtType(rng.randrange(128), rng.randbytes(rng.choice((0, 1, 2, 4, 8, 17))))
    return bytes(msgpack.packb({"type": "call", "id": 4, "op": "echo", "args": {"a": ext}}))


def not_utf8(rng: random.Random) -> bytes:
    return b"\x82\xa4type\xa4call\xa2id\xa3" + rng.choice((b"\xff\xfe\xfd", b"\xed\xa0\x80", b"\xc0\xaf\x80"))


def doubled_keys(_rng: random.Random) -> bytes:
    return b"\x82\xa4type\xa4ping\xa4type\xa5hello"


KINDS: tuple[Callable[[random.Random], bytes], ...] = (
    random_bytes, mutated, mutated, wrong_types, wrong_types, unknown_fields, unknown_type, deep, huge_headers, huge_arrays,
    extensions, not_utf8, doubled_keys,
)  # fmt: skip


def main() -> None:
    path, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 10_000)
    socket.setsockopt(zmq.SNDHWM, 200)
    socket.connect("ipc://" + path)
    socket.send(msgpack.packb(VALID[0]))
    answers: Counter[str] = Counter()
    reads = seed % 2 == 0  # the others never read what they are told
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        body = kind(rng)
        if number % 50 == 49:
            socket.send_multipart([body, *(b"more" for _ in range(rng.choice((1, 2, 40))))])
        else:
            socket.send(body)
        while reads and socket.poll(0):
            answers[msgpack.unpackb(socket.recv())["type"]] += 1
    while reads and socket.poll(500):
        answers[msgpack.unpackb(socket.recv())["type"]] += 1
    print(dict(answers))
    socket.close()
    context.term()


if __name__ == "__main__":
    main()
