"""The optional tcp endpoint: CURVE, and only authorised keys."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from helperd.curve_keys import read_access
from protocol.errors import InvalidValue, Unavailable

pytestmark = pytest.mark.req("W8")
ROOT = Path(__file__).resolve().parents[2]


def write_key(path: Path, **values: str | int) -> None:
    path.write_text("".join(f"{name} = {value!r}\n" for name, value in values.items()))
    path.chmod(0o600)


def keys() -> tuple[str, str]:
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    public, secret = keys()
    write_key(tmp_path / "server.toml", public=public, secret=secret)
    return tmp_path


def test_authorised_keys(directory: Path) -> None:
    good = keys()[0]
    write_key(directory / "ops.toml", key=good, uid=1000)
    assert read_access("tcp://*:1", directory).keys == {good: 1000}
    (directory / "ops.toml").chmod(0o640)
    with pytest.raises(InvalidValue, match="chmod 600"):
        read_access("tcp://*:1", directory)
    for bad in ({"key": good, "uid": 65534}, {"key": good, "uid": "0"}, {"key": good[:-1], "uid": 1}, {"uid": 1}):
        write_key(directory / "ops.toml", **bad)
        with pytest.raises(InvalidValue):
            read_access("tcp://*:1", directory)
    (directory / "ops.toml").unlink()
    (directory / "ops.toml").symlink_to(directory / "server.toml")
    with pytest.raises(Unavailable):
        read_access("tcp://*:1", directory)
    with pytest.raises(InvalidValue):
        read_access("ipc:///tmp/x", directory)


SCRIPT = """
import asyncio, sys, subprocess, tempfile
from pathlib import Path
import msgpack, zmq
from helperd.curve_keys import read_access
from helperd.front_config import FrontConfig
from helperd.roles import Roles
from tests.wire.small_core import running_core

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
access = read_access("tcp://127.0.0.1:7711", sys.argv[1])

def ask(public, secret):
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        if public:
            dealer.curve_serverkey = access.public_key.encode()
            dealer.curve_publickey, dealer.curve_secretkey = public, secret
        dealer.connect(access.endpoint)
        dealer.send(msgpack.packb({"type": "hello", "version": 1}))
        if not dealer.poll(1500):
            return "nothing"
        welcome = msgpack.unpackb(dealer.recv())
        dealer.send(msgpack.packb({"type": "call", "id": 1, "op": "whoami"}))
        return welcome["role"], msgpack.unpackb(dealer.recv())["value"]["uid"]

async def main():
    config = FrontConfig("e", roles=Roles.from_config({"uids": {"1000": "operate"}}), tcp=access)
    with tempfile.TemporaryDirectory() as name:
        async with running_core(Path(name), config):
            good = sys.argv[2].encode(), sys.argv[3].encode()
            print(await asyncio.to_thread(ask, *good), await asyncio.to_thread(ask, *zmq.curve_keypair()),
                  await asyncio.to_thread(ask, b"", b""))
asyncio.run(main())
"""


@pytest.mark.root
def test_only_authorised_keys_are_let_in(directory: Path) -> None:
    public, secret = keys()
    write_key(directory / "ops.toml", key=public, uid=1000)
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", SCRIPT, str(directory), public, secret],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "('operate', 1000) nothing nothing", done.stderr
