"""Discovery of namespaces and their owners: real named namespaces, processes, Podman, a Docker engine, and hostile ones."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helperd.discovery import Discovery, DiscoveryError, Sighting
from helperd.kernel.namespaces import own_inode
from helperd.runtime_names import RuntimeNames, docker_data_root
from tests.simulated_host import SimulatedHost
from tests.waiting import until

pytestmark = pytest.mark.req("X10")

LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=100:100")


@contextlib.contextmanager
def in_new_namespace(*argv: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a network namespace of its own."""
    process = subprocess.Popen(["unshare", "-n", "--", *argv], **options)
    try:
        until(lambda: os.stat(f"/proc/{process.pid}/ns/net").st_ino != own_inode())
        yield process
    finally:
        process.kill()
        process.wait()


def inode_of(pid: int) -> int:
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def refused(discovery: Discovery, ref: str) -> DiscoveryError:
    with pytest.raises(DiscoveryError) as told:
        discovery.resolve(ref)
    assert told.value.message
    assert "\n" not in told.value.message
    return told.value


# Processes and named namespaces --------------------------------------------------------------------------------------------


def test_a_process_in_a_namespace_of_its_own_is_found_and_lost() -> None:
    discovery = Discovery()
    discovery.scan()
    with in_new_namespace("sleep", "60") as process:
        until(lambda: inode_of(process.pid) in discovery.scan())
        inode = inode_of(process.pid)
        found = discovery.scan()[inode]
        assert (found.runtime, found.name, found.ref) == ("process", str(process.pid), f"pid:{process.pid}")
        assert (found.pid, found.paths, found.comm) == (process.pid, (), "sleep")
        assert found.starttime is not None
        assert discovery.resolve(f"pid:{process.pid}") == found
    assert inode not in discovery.scan()
    assert refused(discovery, f"pid:{process.pid}").code == "not_found"


def test_a_process_that_changes_its_namespace_is_noticed() -> None:
    discovery = Discovery()
    with subprocess.Popen(["sh", "-c", "read x; exec unshare -n sleep 60"], stdin=subprocess.PIPE) as process:
        discovery.scan()
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        try:
            until(lambda: any(item.pid == process.pid for item in discovery.scan().values()))
        finally:
            process.kill()


def test_named_namespaces_with_and_without_processes(host: SimulatedHost) -> None:
    host.add_namespace("blue")
    host.add_namespace("red")
    (host.netns_dir / "leftover").touch()
    (host.netns_dir / "loop").symlink_to("loop")
    os.mkfifo(host.netns_dir / "pipe")
    discovery = Discovery(netns_directories=(str(host.netns_dir), "/nonesuch"))
    sightings = discovery.scan()
    named = {item.ref: item for item in sightings.values() if item.paths}
    assert set(named) == {"netns:blue", "netns:red"}
    blue = named["netns:blue"]
    assert (blue.runtime, blue.name, blue.pid, blue.starttime) == ("netns", "blue", None, None)
    assert blue.paths == (f"{host.netns_dir}/blue",)
    assert blue.inode == os.stat(host.netns_dir / "blue").st_ino
    assert discovery.resolve("netns:blue") == blue
    process = host.popen(["sleep", "60"], netns="blue")
    try:
        until(lambda: discovery.scan(full=True)[blue.inode].comm == "sleep")
        led = discovery.scan()[blue.inode]
        assert (led.ref, led.paths, led.comm) == (blue.ref, blue.paths, "sleep")
        assert led.pid == process.inner_pid
    finally:
        process.kill()
    host.run("ip netns del red")
    assert refused(discovery, "netns:red").code == "gone"
    assert refused(discovery, "netns:bleu").message == "there is no netns:bleu on this host; did you mean netns:blue"


def test_a_name_for_the_hosts_own_namespace_is_not_a_container(tmp_path: Path) -> None:
    (tmp_path / "self").touch()
    script = f"mount --bind /proc/self/ns/net {tmp_path}/self; echo; exec sleep 60"
    # In a mount namespace of its own, from the machine's network namespace.
    with subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            directory = f"/proc/{process.pid}/root{tmp_path}"
            assert os.stat(f"{directory}/self").st_ino == own_inode()
            discovery = Discovery(netns_directories=(directory,))
            assert not any(item.paths for item in discovery.scan().values())
            assert refused(discovery, "netns:self").code == "host_namespace"
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("ref", "code"),
    [
        ("docker:nonesuch", "not_found"),
        ("docker:", "bad_ref"),
        ("dokcer:web", "bad_ref"),
        ("nothing", "not_found"),
        ("/run/netns/blue", "path_not_name"),
        ("netns:/run/netns/blue", "path_not_name"),
        ("netns:../netns/blue", "path_not_name"),
        ("pid:0", "bad_ref"),
        ("pid:-1", "bad_ref"),
        ("pid:²", "bad_ref"),
        ("pid:99999999999", "bad_ref"),
        ("pid:self", "bad_ref"),
        ("pid:4194303", "not_found"),
        ("lxc:a\x1b[31m\nb", "not_found"),
        ("", "not_found"),
    ],
)
def test_what_cannot_be_resolved_is_told_in_one_line(ref: str, code: str) -> None:
    told = refused(Discovery(), ref)
    assert told.code == code
    assert told.message.isprintable()


def test_the_hosts_own_processes_are_refused() -> None:
    assert refused(Discovery(), f"pid:{os.getpid()}").code == "host_namespace"


def test_our_own_containers_are_known_by_their_inode() -> None:
    with in_new_namespace("sleep", "60") as process:
        own = {inode_of(process.pid): ("f" * 64, "web")}
        discovery = Discovery(own)
        found = discovery.resolve("web")
        assert (found.runtime, found.id, found.name, found.ref, found.pid) == ("netdeck", "f" * 64, "web", "web", process.pid)
        assert discovery.resolve("ffff") == found
        own.clear()
        assert discovery.scan()[found.inode].runtime == "process"


def test_a_hostile_process_name_is_only_text(tmp_path: Path) -> None:
    hostile = tmp_path / "\x1b[31m) 0 (\n"
    shutil.copy("/bin/sleep", hostile)
    undecodable = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    shutil.copy("/bin/sleep", undecodable)
    with in_new_namespace(str(hostile), "60") as first, in_new_namespace(undecodable, "60") as second:
        discovery = Discovery()
        until(lambda: discovery.scan(full=True)[inode_of(first.pid)].comm.startswith("\x1b"))
        until(lambda: discovery.scan(full=True)[inode_of(second.pid)].comm == "\\xff\\xfe")
        found = discovery.scan()[inode_of(first.pid)]
        assert found.ref == f"pid:{first.pid}"
        assert found.starttime is not None and found.starttime > 0
        for item in discovery.scan().values():
            "".join((item.comm, item.cgroup, item.name, item.ref)).encode()


def test_no_descriptor_is_kept_and_a_scan_is_cheap() -> None:
    discovery = Discovery()
    discovery.scan()
    before = len(os.listdir("/proc/self/fd"))
    with in_new_namespace("sleep", "60"):
        for _ in range(20):
            discovery.scan(full=True)
    assert len(os.listdir("/proc/self/fd")) == before
    # Some eight times what the kernel takes to say in which namespace each process is.
    links = [f"/proc/{entry}/ns/net" for entry in os.listdir("/proc") if entry.isdigit()]
    tries = [(shortest(discovery.scan), shortest(lambda: [namespace_of(link) for link in links])) for _ in range(3)]
    assert min(scan / looked for scan, looked in tries) < 25, tries


def namespace_of(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""  # the process has ended


def shortest(work: Callable[[], object]) -> float:
    """Seconds of the processor, of ten tries."""
    found = []
    for _ in range(10):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


# Control groups of real processes ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def control_group(*parts: str) -> Iterator[Path]:
    """A group of ours in whatever hierarchy this machine has, gone afterwards."""
    for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup", "/sys/fs/cgroup/systemd"):
        base = Path(root, f"netdeck-test-{os.getpid()}")
        with contextlib.suppress(OSError):
            Path(base, *parts).mkdir(parents=True)
            if Path(base, *parts, "cgroup.procs").exists():
                break
    else:
        pytest.skip("this machine lets nobody make a control group")
    try:
        yield Path(base, *parts)
    finally:
        path = Path(base, *parts)
        while path != base.parent:
            until(lambda path=path: _removed(path))  # type: ignore[misc]
            path = path.parent


def _removed(path: Path) -> bool:
    with contextlib.suppress(OSError):
        path.rmdir()
    return not path.exists()


@pytest.mark.parametrize(
    ("parts", "ref"),
    [
        (("lxc.payload.box",), "lxc:box"),
        (("machine.slice", "machine-deb.scope"), "nspawn:deb"),
        (("kubepods", "pod3d6d5a0e-1b1c-4c5e-8f5e-0123456789ab", "a" * 64), "pod:3d6d5a0e-1b1c-4c5e-8f5e-0123456789ab"),
        (("default", "b" * 64), "containerd:bbbbbbbbbbbb"),
        (("docker", "c" * 64), "docker:cccccccccccc"),
    ],
)
def test_a_process_is_known_by_its_control_group(parts: tuple[str, ...], ref: str) -> None:
    with control_group(*parts) as group, in_new_namespace("sleep", "60") as process:
        (group / "cgroup.procs").write_text(str(process.pid))
        discovery = Discovery(names=RuntimeNames((), ()))
        found = discovery.resolve(ref)
        assert (found.ref, found.pid, found.inode) == (ref, process.pid, inode_of(process.pid))
        if found.id:
            assert discovery.resolve(f"{ref.partition(':')[0]}:{found.id[:6]}") == found
        process.kill()
        process.wait()


# Engines -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    busybox = shutil.which("busybox")
    assert busybox is not None, "apt-get install busybox-static"
    path = tmp_path / "rootfs"
    (path / "bin").mkdir(parents=True)
    shutil.copy(busybox, path / "bin/busybox")
    (path / "bin/sleep").symlink_to("busybox")
    return path


def _one(discovery: Discovery, ref: str) -> Sighting:
    found = discovery.resolve(ref)
    assert found.pid is not None
    assert found.inode == inode_of(found.pid) != own_inode()
    return found


def _emptied(path: Path) -> bool:
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.fsencode(path) in Path("/proc", entry, "cmdline").read_bytes():
                return False
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Engines keep sockets in their directories, whose paths may have 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="nd-"))
    yield path
    # An engine's monitor cleans up after its container, and would make the directory again.
    until(lambda: _emptied(path))


@pytest.mark.engines
def test_a_container_of_podman(short_path: Path, rootfs: Path) -> None:
    if shutil.which("podman") is None or shutil.which("runc") is None:
        pytest.skip("podman and runc are not installed")
    podman = ["unshare", "-m", "--propagation=slave", "podman", "--root", f"{short_path}/root", "--runroot", f"{short_path}/run",
              "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc"]  # fmt: skip

    def run(name: str, *options: str) -> str:
        done = subprocess.run([*podman, "run", "-d", "--name", name, *options, *LIMITS, "--rootfs", str(rootfs), "sleep", "100"],
                              check=False, capture_output=True, text=True, timeout=60)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        ident = run("blue", "--network", "none")
        run("onhost", "--network", "host")
        names = RuntimeNames((), (f"{short_path}/root/overlay-containers/containers.json",
                                  f"{short_path}/root/vfs-containers/containers.json"))  # fmt: skip
        discovery = Discovery(names=names)
        found = _one(discovery, "podman:blue")
        assert (found.runtime, found.name, found.id, found.ref) == ("podman", "blue", ident, "podman:blue")
        assert discovery.resolve(f"podman:{ident[:8]}") == found
        assert found.comm == "sleep"
        assert refused(discovery, "podman:onhost").code == "host_namespace"
        assert _one(Discovery(names=RuntimeNames((), ())), f"podman:{ident[:12]}").ref == f"podman:{ident[:12]}"
        subprocess.run([*podman, "rm", "-f", "-t", "0", "blue"], check=True, capture_output=True, timeout=60)
        assert refused(discovery, "podman:blue").code == "gone"
    finally:
        subprocess.run([*podman, "rm", "-fa", "-t", "0"], check=False, capture_output=True, timeout=60)


_ENGINE = """
ip link set lo up
mount -t tmpfs run /run
exec dockerd --data-root "$1/data" --exec-root "$1/exec" -H "unix://$1/docker.sock" --pidfile "$1/pid" \
    --iptables=false --ip6tables=false --bridge=none --storage-driver vfs >"$1/log" 2>&1
"""


@pytest.fixture
def docker(short_path: Path) -> Iterator[list[str]]:
    """A Docker engine in namespaces of its own; the command line to talk to it."""
    client = "/usr/bin/docker"
    if shutil.which("dockerd") is None or not Path(client).exists():
        pytest.skip("docker.io is not installed")
    command = [client, "-H", f"unix://{short_path}/docker.sock"]
    engine = subprocess.Popen(["unshare", "-nm", "--propagation=slave", "sh", "-ec", _ENGINE, "sh", str(short_path)])
    try:
        until(lambda: subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0)
        yield command
        subprocess.run([*command, "rm", "-f", "web", "side"], check=False, capture_output=True, timeout=60)
    finally:
        engine.terminate()
        engine.wait(60)


@pytest.mark.engines
def test_containers_of_docker(short_path: Path, rootfs: Path, docker: list[str]) -> None:
    archive = subprocess.run(["tar", "-C", str(rootfs), "-c", "."], check=True, capture_output=True).stdout
    subprocess.run([*docker, "import", "-", "box"], input=archive, check=True, capture_output=True, timeout=60)

    def run(name: str, network: str) -> str:
        return subprocess.run([*docker, "run", "-d", "--name", name, "--network", network, "box", "sleep", "100"],
                              check=True, capture_output=True, text=True, timeout=60).stdout.strip()  # fmt: skip

    ident = run("web", "none")
    discovery = Discovery(names=RuntimeNames((f"{short_path}/data",), ()))
    found = _one(discovery, "docker:web")
    assert (found.runtime, found.name, found.id, found.ref) == ("docker", "web", ident, "docker:web")
    side = run("side", "container:web")
    shared = _one(discovery, "docker:side")
    assert (shared.inode, shared.name, shared.id) == (found.inode, "side", side)
    assert discovery.scan()[found.inode] == found
    subprocess.run([*docker, "rename", "web", "shop"], check=True, timeout=60)
    assert _one(discovery, "docker:shop").id == ident
    assert refused(discovery, "docker:web").code == "not_found"
    assert "docker:shop" in refused(discovery, "docker:shpo").message
    subprocess.run([*docker, "rm", "-f", "web", "side", "shop"], check=False, capture_output=True, timeout=60)
    assert refused(discovery, f"docker:{ident[:12]}").code == "gone"


def test_names_come_only_from_files_that_hold_them(tmp_path: Path) -> None:
    ident = "a" * 64
    directory = tmp_path / "containers" / ident
    directory.mkdir(parents=True)
    config = directory / "config.v2.json"
    names = RuntimeNames((str(tmp_path),), (str(tmp_path / "list.json"),))
    for text in ("", "[]", "nonsense", '{"ID": 3, "Name": "/x"}', '{"ID": "b", "Name": "/x"}', "[" * 100_000):
        config.write_text(text)
        (tmp_path / "list.json").write_text(text)
        assert names.name("docker", ident) == names.name("podman", ident) == ident[:12]
    config.write_text(json.dumps({"ID": ident, "Name": "/web"}))
    assert names.name("docker", ident) == "web"
    (tmp_path / "list.json").write_text(json.dumps([{"id": "x"}, 3, {"id": ident, "names": ["db", "other"]}]))
    assert names.name("podman", ident) == "db"
    config.unlink()
    os.mkfifo(config)
    assert names.name("docker", ident) == ident[:12]
    assert names.name("lxc", ident) == ident[:12]
    settings = tmp_path / "daemon.json"
    assert docker_data_root(str(settings)) == ("/var/lib/docker",)
    settings.write_text('{"data-root": "/srv/docker"}')
    assert docker_data_root(str(settings)) == ("/srv/docker", "/var/lib/docker")
    settings.write_text('{"data-root": "srv"}')
    assert docker_data_root(str(settings)) == ("/var/lib/docker",)
