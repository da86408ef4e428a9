"""Who waits at our name server's address in a container."""

from __future__ import annotations

import os
import socket
from functools import partial

import pytest

from helperd.kernel import bound_sockets
from helperd.kernel.bound_sockets import sockets_at
from helperd.kernel.namespaces import identify, in_namespace
from tests.kernel.live_host import sh
from tests.simulated_host import SimulatedHost

ADDRESS = "127.0.0.11"


def _bound(kind: socket.SocketKind, address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind((address, 0))
    if kind is socket.SOCK_STREAM:
        sock.listen()
    return sock


@pytest.mark.req("B4")
def test_sockets_at_an_address_are_found_and_those_elsewhere_are_not(host: SimulatedHost) -> None:
    def scenario() -> None:
        sh("ip netns add one && ip -n one link set lo up && ip netns add two && ip -n two link set lo up")
        one, two = identify("/run/netns/one"), identify("/run/netns/two")
        assert in_namespace(one, lambda: sockets_at(ADDRESS)) == frozenset()
        assert not in_namespace(one, bound_sockets._any)
        kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM)
        here = [in_namespace(one, partial(_bound, kind, ADDRESS)) for kind in kinds]
        others = [in_namespace(one, partial(_bound, kind, "127.0.0.1")) for kind in kinds]
        others += [in_namespace(two, partial(_bound, kind, ADDRESS)) for kind in kinds]
        server = here[1].getsockname()
        caller = in_namespace(one, lambda: socket.create_connection(server, source_address=(ADDRESS, 0)))
        wanted = frozenset(os.fstat(sock.fileno()).st_ino for sock in here)
        packed = socket.inet_aton(ADDRESS)
        assert in_namespace(one, lambda: sockets_at(ADDRESS)) == wanted == in_namespace(one, lambda: bound_sockets._in_proc(packed))
        for sock in (*here, *others, caller):
            sock.close()

    host.call(scenario)
