"""What both client libraries need to reach the helper, and words for why it can't be reached."""

from __future__ import annotations

import errno
import os
import socket
import weakref
from collections.abc import Callable

import zmq

from protocol.errors import Forbidden, NetdeckError, Unavailable
from protocol.messages import DEFAULT_SOCKET, SOCKET_ENV

SEND_QUEUE = 4_096
RECEIVE_QUEUE = 128


def socket_path(path: str | None = None) -> str:
    """`path`, or what $NETDECK_SOCKET says, or the default."""
    return path or os.environ.get(SOCKET_ENV) or DEFAULT_SOCKET


def reason_unreachable(path: str) -> NetdeckError | None:
    """Why nothing can be connected to at `path`, in words with what to do; None where something listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError as error:
            number = error.errno
        else:
            return None
    match number:
        case errno.ENOENT | errno.ENOTDIR:
            text = f"no helper at {path}: start it with `netdeck helper`, or name its socket in ${SOCKET_ENV}"
        case errno.ECONNREFUSED:
            text = f"the helper at {path} has stopped: start it with `netdeck helper`"
        case errno.EACCES | errno.EPERM:
            text = f"you may not use the helper at {path}: ask to be put into the group that owns it (netdeck), and log in again"
            return Forbidden(text, path=path)
        case errno.EAGAIN:
            return None  # it listens; its queue is full at the moment
        case None:
            text = f"{path} can't be used as a socket"
        case _:
            text = f"the helper at {path} can't be reached: {os.strerror(number)}"
    return Unavailable(text, path=path)


def reason_refused(path: str) -> Forbidden:
    """What a client says when the helper did not let it in."""
    return Forbidden(
        f"the helper at {path} refuses user {os.getuid()}: its configuration gives that user no role", path=path, uid=os.getuid()
    )


def open_dealer(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """A DEALER socket with our options, not connected yet.

    It has no heartbeats: the kernel tells of the helper's end, and libzmq 4.3.5 aborts at one that comes after the connection ended
    while the queue was full.
    """
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.setsockopt(zmq.SNDHWM, SEND_QUEUE)
    dealer.setsockopt(zmq.RCVHWM, RECEIVE_QUEUE)
    dealer.setsockopt(zmq.RECONNECT_IVL, 50)
    dealer.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
    return dealer


def close_with(owner: object, context: zmq.Context[zmq.Socket[bytes]], dealer: zmq.Socket[bytes],
               monitor: zmq.Socket[bytes]) -> Callable[[], object]:
    """A function that closes all three; it also runs where `owner` is dropped without a word.

    A context that is collected before its sockets waits for them for ever, so they must not be left to the garbage collector.
    """
    closing = weakref.finalize(owner, _close, os.getpid(), context, dealer, monitor)
    closing.atexit = False  # pyzmq has a way of its own there
    return closing


def _close(pid: int, context: zmq.Context[zmq.Socket[bytes]], dealer: zmq.Socket[bytes], monitor: zmq.Socket[bytes]) -> None:
    if os.getpid() != pid:
        return  # a child has only copies, and they are its parent's
    dealer.disable_monitor()
    monitor.close(0)
    dealer.close(0)
    context.term()
