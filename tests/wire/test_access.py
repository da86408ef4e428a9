"""Who gets in, and as what."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from helperd.front_config import FrontConfig
from helperd.listener import open_listener
from helperd.roles import Role, Roles
from helperd.zap import IPC_DOMAIN, TCP_DOMAIN, Peer, parse_address, zap_answer
from protocol.errors import Conflict, InvalidValue
from tests.waiting import comes
from tests.wire.raw_client import RawClient
from tests.wire.small_core import SmallCore, running_core

pytestmark = pytest.mark.req("W8")
ROOT = Path(__file__).resolve().parents[2]

ASK = """
from protocol.blocking import BlockingClient
from protocol.errors import NetdeckError
try:
    with BlockingClient() as client:
        print(client.welcome.role, client.welcome.uid, client.call("whoami")["uid"])
except NetdeckError as error:
    print(error.code, error.message)
"""

ASK_LATE = """
import asyncio, os, time
from protocol.client_polling import PollingSocket, end_in
from protocol.client_socket import ClientSocket
from protocol.codec import encode
from protocol.errors import NetdeckError
from protocol.messages import Ping

async def ask(pause):
    lost = asyncio.get_running_loop().create_future()
    client = ClientSocket(os.environ["NETDECK_SOCKET"], print, lost.set_result)
    time.sleep(pause)
    try:
        client.send(encode(Ping()))
        error = await lost
    except NetdeckError as refused:
        error = refused
    print(error.code, error.message)
    client.close()

for number in range(40):
    asyncio.run(ask(number * 0.002))
    client = PollingSocket(os.environ["NETDECK_SOCKET"])
    time.sleep(number * 0.002)
    try:
        client.send(Ping())
        print(client.receive(end_in(10)))
    except NetdeckError as error:
        print(error.code, error.message)
    client.close()
"""


async def ask_as(path: str, uid: int, gid: int | None = None, code: str = ASK) -> str:
    """What a process of another user gets to hear."""
    process = await asyncio.create_subprocess_exec(
        "setpriv", "--reuid", str(uid), "--regid", str(gid or uid), "--clear-groups", sys.executable, "-c", code,
        env={**os.environ, "NETDECK_SOCKET": path, "PYTHONPATH": str(ROOT)}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    return output.decode().strip()


@pytest.mark.root
async def test_roles_follow_the_kernels_word_on_the_caller(socket_directory: Path) -> None:
    roles = Roles.from_config({"uids": {"4242": "view", "4243": "operate", "65534": "admin"}})
    async with running_core(socket_directory, FrontConfig("e", roles=roles), mode=0o666) as core:
        assert await ask_as(core.path, 0) == "admin 0 0"
        assert await ask_as(core.path, 4242) == "view 4242 4242"
        assert await ask_as(core.path, 4243) == "operate 4243 4243"
        for uid in (4244, 65534):
            answer = await ask_as(core.path, uid)
            assert answer.startswith("forbidden") and str(uid) in answer
        stats = await core.front.stats()
        assert stats["refused_users"] == 2
        assert {caller.uid for caller in core.callers.values()} == {0, 4242, 4243}


@pytest.mark.root
async def test_who_is_refused_before_he_says_a_word_hears_so(socket_directory: Path) -> None:
    """As on a busy machine, where the helper is quicker than the client."""
    async with running_core(socket_directory, FrontConfig("e", roles=Roles.from_config({})), mode=0o666) as core:
        answers = (await ask_as(core.path, 4244, code=ASK_LATE)).splitlines()
        assert len(answers) == 80 and all(line.startswith("forbidden") and "4244" in line for line in answers), answers


@pytest.mark.root
async def test_the_file_keeps_others_out(socket_directory: Path) -> None:
    async with running_core(socket_directory) as core:
        assert stat.S_IMODE(os.stat(core.path).st_mode) == 0o660
        answer = await ask_as(core.path, 4242)
        assert answer.startswith("forbidden you may not use the helper")


async def test_self_made_routing_ids_are_refused(core: SmallCore) -> None:
    """A routing id of one's own choice could be taken from somebody else, or kept from him."""
    for identity in (b"admin", b"\x01abcd", b"\x01"):
        with RawClient(core.path, identity) as raw:
            answer = await raw.receive_type("error")
            assert "ROUTING_ID" in answer["error"]["message"]
    assert (await core.front.stats())["refused_routing_id"] == 3
    assert not core.callers


async def test_answers_go_to_their_own_client(core: SmallCore) -> None:
    with RawClient(core.path) as one, RawClient(core.path) as other:
        for raw in (one, other):
            await raw.receive_type("welcome")
        one.send({"type": "call", "id": 1, "op": "hang"})
        other.send({"type": "cancel", "id": 1})
        other.send({"type": "input", "id": 1, "data": b"x"})
        other.send({"type": "call", "id": 1, "op": "echo", "args": {"mine": True}})
        assert (await other.receive_type("result"))["value"] == {"mine": True}
        assert await one.receive(0.2) is None
        one.send({"type": "cancel", "id": 1})
        assert (await one.receive_type("error"))["error"]["code"] == "cancelled"


async def test_the_core_hears_when_a_client_is_gone(core: SmallCore) -> None:
    with RawClient(core.path) as raw:
        raw.send({"type": "call", "id": 1, "op": "hang"})
        raw.send({"type": "subscribe", "id": 2, "topics": ["links"]})
        await comes(lambda: core.subscriptions)
        number = next(iter(core.callers))
    await comes(lambda: number in core.gone)
    assert not core.subscriptions


async def test_a_second_helper_is_refused(core: SmallCore) -> None:
    with pytest.raises(Conflict, match=f"another helper.*{os.getpid()}"), open_listener(core.path):
        pass
    with RawClient(core.path) as raw:
        assert (await raw.receive_type("welcome"))["version"] == 1


def test_nothing_but_a_socket_is_replaced(socket_directory: Path) -> None:
    path = socket_directory / "helper.sock"
    path.write_text("mine")
    with pytest.raises(Conflict, match="not a socket"), open_listener(path):
        pass
    assert path.read_text() == "mine"
    path.unlink()
    with open_listener(path):
        assert path.is_socket()
    assert not path.exists()
    with open_listener(path):
        pass
    with pytest.raises(InvalidValue, match="longer"), open_listener(socket_directory / ("x" * 120)):
        pass


@pytest.mark.parametrize(
    "address",
    [
        b"", b"localhost", b"localhost:0:0", b"localhost:0:0:1:2", b"localhost:-1:0:1", b"localhost:+1:0:1", b"localhost: 0:0:1",
        b"localhost:0:0:1\n", b"localhost:00:0:1", b"evil:0:0:1", b"localhost:0:0:localhost:0:0:1", b"localhost:0x0:0:1",
        b"localhost:4294967295:0:1", b"localhost:4294967296:0:1", b"localhost:1_0:0:1", "localhost:٠:0:1".encode(), b"\xff",
        b"localhost::0:1", b"LOCALHOST:0:0:1", b"localhost:0:0:99999999",
    ],
)  # fmt: skip
def test_forged_addresses_are_nobody(address: bytes) -> None:
    assert parse_address(address) is None
    assert zap_answer([b"1.0", b"1", IPC_DOMAIN, address, b"", b"NULL"], lambda _peer: "")[2] == b"400"


def test_zap_answers() -> None:
    def admit(peer: Peer) -> str:
        return "" if peer.uid == 1000 else "no role"

    good = [b"1.0", b"7", IPC_DOMAIN, b"localhost:1000:100:42", b"", b"NULL"]
    assert zap_answer(good, admit) == [b"1.0", b"7", b"200", b"", b"1000:100:42", b""]
    assert parse_address(good[3]) == Peer(1000, 100, 42)
    for place, value in ((0, b"2.0"), (2, TCP_DOMAIN), (2, b""), (3, b"localhost:1001:100:42"), (5, b"PLAIN"), (5, b"CURVE")):
        bad = list(good)
        bad[place] = value
        assert zap_answer(bad, admit)[2:5] == [b"400", zap_answer(bad, admit)[3], b""]
    assert zap_answer(good[:4], admit)[2] == b"400"
    assert zap_answer([], admit)[2] == b"400"
    key = b"k" * 32
    curve = [b"1.0", b"7", TCP_DOMAIN, b"10.0.0.9", b"", b"CURVE", key]
    assert zap_answer(curve, admit)[2] == b"400"
    assert zap_answer(curve, admit, {key: Peer(1000, 1000, 0)})[2:5] == [b"200", b"", b"1000:1000:0"]
    assert zap_answer([*curve[:6], b"other"], admit, {key: Peer(1000, 1000, 0)})[2] == b"400"


def test_roles() -> None:
    roles = Roles.from_config({"default": "none", "uids": {"1000": "view"}, "groups": {"wheel": "operate"}})
    for uid, groups, role in (
        (0, (), Role.ADMIN), (65534, ("netdeck",), Role.NONE), (1000, (), Role.VIEW), (1000, ("wheel",), Role.OPERATE),
        (1001, ("netdeck", "wheel"), Role.ADMIN), (1001, ("users",), Role.NONE), (-1, ("netdeck",), Role.NONE),
    ):  # fmt: skip
        assert roles.role_of(uid, groups) is role
    assert Roles.from_config({"default": "view"}).role_of(5, ()) is Role.VIEW
    assert Role.VIEW < Role.OPERATE < Role.ADMIN
    wrongs: tuple[dict[str, Any], ...] = (
        {"default": "root"}, {"uid": {}}, {"uids": {"root": "view"}}, {"uids": []}, {"groups": {"a": "Admin"}},
    )  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(InvalidValue):
            Roles.from_config(wrong)
