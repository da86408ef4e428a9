"""Process 1 of a container, or the command of an exec, from fork to execve.

It talks to the shim over a SOCK_SEQPACKET pair: one JSON packet {"warnings", "netns"} with the terminal's master
attached, then it waits for one byte, the go; end of file instead means that the shim is gone, and it ends. A JSON packet
{"error", "code"} tells why it could not go on; end of file after the go means that execve succeeded.
The standard library alone is imported.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import signal
import socket
import stat
import struct
import sys
import termios

from helperd.containers import command, rootfs, syscalls
from helperd.containers.command import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from helperd.containers.spec import ExecWire, JoinWire, SpecWire

_PTMX = os.makedev(5, 2)  # Linux Documentation/admin-guide/devices.txt
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_NS_GET_NSTYPE = 0xB703


def start_time(pid: int | str) -> int:
    """Return when a process started, in clock ticks since boot (field 22 of /proc/PID/stat)."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def main(spec: SpecWire, control: socket.socket, stdio: tuple[int, int, int] | None) -> NoReturn:
    """Run in the forked child; never returns. `stdio` is None when a terminal is to be made."""
    try:
        _main(spec, control, stdio)
    except Failure as failure:
        _report(control, failure.message, failure.code)
    except OSError as error:
        _report(control, f"cannot set the container up: {error.strerror or error}", command.NOT_STARTED)
    except BaseException as error:  # nothing may reach the copy of the stack of the shim
        _report(control, f"cannot set the container up: {type(error).__name__}: {error}", command.NOT_STARTED)
    finally:
        os._exit(command.NOT_STARTED)
    raise AssertionError


def _report(control: socket.socket, message: str, code: int) -> None:
    control.send(json.dumps({"error": message, "code": code}).encode("ascii"))


def _main(spec: SpecWire, control: socket.socket, stdio: tuple[int, int, int] | None) -> None:
    _forget_imports()
    # Until execve nobody but root may look into this copy of a root process (the runc CVE-2019-5736 class).
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    os.umask(0)
    target = spec["exec_in"]
    warnings = _join(target) if target is not None else _create(spec)
    terminal = _open_terminal(spec) if spec["terminal"] is not None else None
    netns = os.stat("/proc/self/ns/net").st_ino
    ready = json.dumps({"warnings": warnings, "netns": netns}).encode("ascii")
    if terminal is None:
        control.send(ready)
    else:
        socket.send_fds(control, [ready], [terminal[0]])
        os.close(terminal[0])
    if control.recv(1) != b"G":
        os._exit(command.NOT_STARTED)
    _take_stdio(terminal[1] if terminal else None, stdio)
    command.drop_privileges(spec)
    if _is_closed(control):
        # The shim died before its death meant ours again.
        os._exit(command.NOT_STARTED)
    os.umask(0o022)
    last = _only_descriptor(control)
    _reset_signals()
    try:
        command.run(spec)
    except Failure as failure:
        _report(last, failure.message, failure.code)
        os._exit(failure.code)


def _forget_imports() -> None:
    """Load no module any more: soon the paths they are looked for at are the container's own, and this is still root.

    What is imported late in the standard library (a codec, say) then fails instead of running a file of the container's.
    """
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path.clear()
    sys.path_importer_cache.clear()


def _create(spec: SpecWire) -> list[str]:
    network = spec["network"]
    if isinstance(network, dict):
        _enter_network(network)
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | (syscalls.CLONE_NEWNET if network in ("new", "none") else 0))
    # Not before: a descriptor from another mount namespace can't become the root of this one.
    root = rootfs.open_rootfs(spec)
    warnings = []
    if network in ("new", "none"):
        syscalls.loopback_up()
        warnings += _allow_ping(spec["gid"])
    if spec["hostname"]:
        socket.sethostname(spec["hostname"])
    return warnings + rootfs.enter(spec, root)


def _enter_network(join: JoinWire) -> None:
    path = f"/proc/{join['pid']}/ns/net" if join["pid"] is not None else join["path"] or ""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError as error:
        raise Failure(f"the network namespace {join['inode']} to join is gone: {error.strerror}") from None
    if kind != syscalls.CLONE_NEWNET or os.fstat(fd).st_ino != join["inode"]:
        raise Failure(f"the network namespace {join['inode']} to join is gone: another one is at {path}")
    syscalls.setns(fd, syscalls.CLONE_NEWNET)
    os.close(fd)


def _allow_ping(gid: int) -> list[str]:
    """Let every group, or at least the caller's, open ICMP sockets (icmp(7), ping_group_range)."""
    why = ""
    # A group that the user namespace doesn't map is refused.
    for groups in ("0 2147483647", f"{gid} {gid}"):
        try:
            with open("/proc/sys/net/ipv4/ping_group_range", "wb", buffering=0) as file:
                file.write(groups.encode())
        except OSError as error:
            why = error.strerror or ""
        else:
            return []
    return [f"ping may need privilege: ping_group_range: {why}"]


def _join(target: ExecWire) -> list[str]:
    """Enter the namespaces of a running container; its PID namespace was entered before the fork, by `enter_pids`."""
    pidfd = _open_target(target)
    kinds = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWNET
    try:
        if os.stat(f"/proc/{target['pid']}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino:
            # Its root is not ours: a command in there may be a program of that user's, who must not get our rights by it.
            os.setgroups([])
            kinds |= syscalls.CLONE_NEWUSER
        syscalls.setns(pidfd, kinds)
    except (ProcessLookupError, FileNotFoundError):
        raise Failure("the container has ended") from None
    finally:
        os.close(pidfd)
    os.chdir("/")
    return []


_target_pidfd: list[int] = []


def enter_pids(target: ExecWire) -> None:
    """Let the next child be born in the PID namespace of `target`, which stays open for that child. Raises Failure."""
    pidfd = _open_target(target)
    try:
        syscalls.setns(pidfd, syscalls.CLONE_NEWPID)
    except OSError as error:
        os.close(pidfd)
        raise Failure(f"the container has ended: {error.strerror}") from None
    _target_pidfd.append(pidfd)


def forget_target() -> None:
    """In the shim, after the fork: close what `enter_pids` left open for the child."""
    while _target_pidfd:
        os.close(_target_pidfd.pop())


def set_size(terminal: int, rows: int, cols: int) -> None:
    """Set the size of a terminal; a change is told to its foreground by SIGWINCH."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def _open_target(target: ExecWire) -> int:
    if _target_pidfd:
        return _target_pidfd.pop()
    try:
        pidfd = os.pidfd_open(target["pid"])
        if start_time(target["pid"]) != target["starttime"]:
            os.close(pidfd)
            raise Failure("the container has ended")
    except OSError:
        raise Failure("the container has ended") from None
    return pidfd


def _open_terminal(spec: SpecWire) -> tuple[int, int]:
    """Return master and slave of a new terminal in the container's devpts, owned by the caller."""
    rows, cols = spec["terminal"] or (24, 80)
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    try:
        try:
            master = os.open("/dev/pts/ptmx", flags)
        except OSError:
            # A devpts of the host without ptmxmode.
            master = os.open("/dev/ptmx", flags)
        # The root directory is the caller's. What answers there must be the kernel: what it gives is handed to the caller.
        state = os.fstat(master)
        if not stat.S_ISCHR(state.st_mode) or state.st_rdev != _PTMX:
            raise Failure("the container cannot have a terminal: its /dev/pts/ptmx is something else")
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, flags)
        set_size(master, rows, cols)
        os.fchown(slave, spec["uid"], -1)
        os.fchmod(slave, 0o620)
    except OSError as error:
        raise Failure(f"the container cannot have a terminal: {error.strerror}") from None
    return master, slave


def _is_closed(control: socket.socket) -> bool:
    try:
        return not control.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def _take_stdio(terminal: int | None, stdio: tuple[int, int, int] | None) -> None:
    if terminal is not None:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        stdio = (terminal, terminal, terminal)
    assert stdio is not None
    # Above 2 first, so that no descriptor is written over before it was copied.
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in stdio]
    for number, fd in enumerate(moved):
        os.dup2(fd, number)


def _only_descriptor(control: socket.socket) -> socket.socket:
    """Close every descriptor but 0 to 2 and the control socket, which closes itself at execve."""
    spare = fcntl.fcntl(control.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
    os.closerange(3, spare)
    os.closerange(spare + 1, 2**31 - 1)
    control.detach()
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, spare)


def _reset_signals() -> None:
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            try:
                signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):  # real-time signals that libc keeps for itself
                continue
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def receive(control: socket.socket) -> tuple[dict[str, object], int | None] | None:
    """In the shim: the child's next packet and the descriptor with it, or None at end of file."""
    space = socket.CMSG_SPACE(array.array("i").itemsize)
    data, ancillary, _, _ = control.recvmsg(65536, space, socket.MSG_CMSG_CLOEXEC)
    fd = None
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fd = array.array("i", value)[0]
    return (json.loads(data), fd) if data else None
