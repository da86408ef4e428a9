"""Entering namespaces: always the one that was meant, and always back."""

from __future__ import annotations

import asyncio
import os
import socket
import threading

import pytest

from helperd.kernel import namespaces
from helperd.kernel.namespaces import (
    NamespaceGone,
    NamespaceRef,
    NamespaceThread,
    identify,
    identify_process,
    in_namespace,
    in_namespace_async,
    netlink_socket,
    open_namespace,
    own_inode,
)
from helperd.kernel.netlink import dump
from tests.kernel.live_host import anonymous, end, inode, sh
from tests.simulated_host import SimulatedHost
from tests.waiting import LONGEST_SECONDS


def _here() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


@pytest.mark.req("W7")
def test_work_is_done_inside_and_the_thread_comes_back(host: SimulatedHost) -> None:
    async def scenario() -> None:
        process = anonymous()
        sh("ip netns add web")
        for ref in (identify("/run/netns/web"), identify_process(process.pid)):
            assert in_namespace(ref, _here) == ref.inode == await in_namespace_async(ref, _here)
            with pytest.raises(ZeroDivisionError):
                in_namespace(ref, lambda: 1 // 0)
            assert in_namespace(None, _here) == own_inode() == _here()
            fd = open_namespace(ref)
            assert in_namespace(fd, _here) == ref.inode == os.fstat(fd).st_ino
            os.close(fd)
        results = await asyncio.gather(*(in_namespace_async(identify("/run/netns/web"), _here) for _ in range(50)))
        assert set(results) == {inode("web")}
        end(process)

    host.call(scenario)


def test_only_the_kernel_speaks_to_our_netlink_sockets(host: SimulatedHost) -> None:
    def scenario() -> None:
        sh("ip netns add web")
        web = identify("/run/netns/web")
        with netlink_socket(web) as ours, netlink_socket(web, receive_buffer=1 << 16) as heard:
            heard.setsockopt(270, 1, 1)  # SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_LINK
            stranger = in_namespace(web, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
            for sock in (ours, heard):
                with pytest.raises(ConnectionRefusedError):
                    stranger.sendto(b"\x14" + b"\0" * 19, (sock.getsockname()[0], 0))
            stranger.close()
            # What the kernel answers and tells still comes.
            assert dump(ours, 18, b"\0" * 16)
            sh("ip -n web link set lo up")
            heard.settimeout(LONGEST_SECONDS)
            assert heard.recvfrom(1 << 16)[1][0] == 0

    host.call(scenario)


def test_another_namespace_in_its_place_is_refused(host: SimulatedHost) -> None:
    def scenario() -> None:
        process = anonymous()
        sh("ip netns add web")
        web, hidden = identify("/run/netns/web"), identify_process(process.pid)
        sh("ip netns del web; ip netns add other; ip netns add web")
        # The inode of the old one may be given to the first new one, so the path is asked for another.
        wrong = [
            NamespaceRef("/run/netns/web", inode("other")),
            NamespaceRef("/run/netns/none", web.inode),
            NamespaceRef("/etc/passwd", os.stat("/etc/passwd").st_ino),
            NamespaceRef("/proc/self/ns/mnt", os.stat("/proc/self/ns/mnt").st_ino),
            NamespaceRef(hidden.path, inode("other"), hidden.pid),
        ]
        end(process)
        for ref in (*wrong, hidden):
            with pytest.raises(NamespaceGone) as caught:
                open_namespace(ref)
            assert caught.value.code == "gone" and caught.value.details["path"] == ref.path
            with pytest.raises(NamespaceGone):
                netlink_socket(ref)

    host.call(scenario)


def test_a_kernel_without_the_pidfd_request(host: SimulatedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "PIDFD_GET_NET_NAMESPACE", 0xFFEE)

    def scenario() -> None:
        process = anonymous()
        ref = identify_process(process.pid)
        assert in_namespace(ref, _here) == ref.inode
        end(process)
        with pytest.raises(NamespaceGone):
            open_namespace(ref)

    host.call(scenario)


def test_a_thread_that_can_not_come_back_is_not_used_again(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scenario() -> None:
        sh("ip netns add web")
        ref = identify("/run/netns/web")
        threads = NamespaceThread("lost")
        answers = iter([True, False])  # as it begins, and after its first work
        back = namespaces._return_home
        monkeypatch.setattr(namespaces, "_return_home", lambda home: back(home) if next(answers, True) else False)
        first = threads.run(ref, threading.get_native_id)
        assert threads.run(None, _here) == own_inode()
        second, third = threads.run(ref, threading.get_native_id), threads.run(ref, threading.get_native_id)
        assert first != second == third
        threads.close()
        assert threads.run(ref, _here) == ref.inode

    host.call(scenario)


def test_no_descriptor_is_left(host: SimulatedHost) -> None:
    def scenario() -> None:
        sh("ip netns add web")
        ref = identify("/run/netns/web")
        in_namespace(ref, _here)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(50):
            in_namespace(ref, _here)
            netlink_socket(ref).close()
            with pytest.raises(NamespaceGone):
                open_namespace(NamespaceRef(ref.path, 1))
        assert len(os.listdir("/proc/self/fd")) == before

    host.call(scenario)
