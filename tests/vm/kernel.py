"""A kernel for the virtual machine: Debian's own, unpacked below the checkout and never installed."""

from __future__ import annotations

import fcntl
import lzma
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache" / "kernel"
PACKAGE = "linux-image-amd64"  # which depends on the one that has the kernel
_SECONDS = 300  # for a download
# Of 4000 modules (400 MB) those that networks need, and the machine's own devices and file systems.
_MODULES = ("net", "crypto", "lib", "arch", "fs/9p", "fs/netfs", "fs/fscache", "drivers/virtio", "drivers/crypto", "drivers/net/*.ko*",
            "drivers/net/ipvlan", "drivers/net/vxlan", "drivers/net/bonding", "drivers/net/wireguard")
_PATH = {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C"}


class NoKernel(Exception):
    """There is no kernel to boot; the text says why and what to do."""


def running_kernel_has_all() -> bool:
    """Whether the running kernel has all that tests marked ``vm`` need. Needs root."""
    return subprocess.run(["sh", str(Path(__file__).with_name("probe.sh"))], timeout=60, check=False).returncode == 0


@dataclass(frozen=True, slots=True)
class Kernel:
    """`root` is what ``modprobe -d`` takes."""

    image: Path
    root: Path
    version: str

    def modules(self, *names: str) -> list[tuple[str, bytes]]:
        """File name and contents of modules and all that they need, in the order of loading; what is built in is left out."""
        found: dict[str, bytes] = {}
        for name in names:
            for line in _run("modprobe", "-d", str(self.root), "-S", self.version, "--show-depends", name).splitlines():
                kind, _, path = line.strip().partition(" ")
                if kind == "insmod":
                    found.setdefault(Path(path.split()[0]).name.partition(".ko")[0] + ".ko", _unpacked(Path(path.split()[0])))
        return list(found.items())


def kernel() -> Kernel:
    """An unpacked kernel with its modules; fetched once. Raises NoKernel."""
    if platform.machine() != "x86_64" or shutil.which("apt-get") is None:
        raise NoKernel("there is a kernel for it only on x86-64 with Debian's packages. Load the modules 8021q, ipvlan and dummy, and the "
                       "tests run directly")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / "ready").exists():
            _fetch()
    version = (CACHE / "ready").read_text().strip()
    return Kernel(CACHE / f"tree/boot/vmlinuz-{version}", CACHE / "tree", version)


def _fetch() -> None:
    tree = CACHE / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    archive = _download(_name())
    parts = [f"./*lib/modules/*/kernel/{part}" for part in _MODULES]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as whole:
        done = subprocess.run(["tar", "-x", "-C", str(tree), "--wildcards", "./boot/vmlinuz-*", "./*lib/modules/*/modules.*", *parts],
                              stdin=whole.stdout, capture_output=True, text=True, timeout=_SECONDS, check=False)
    images = list(tree.glob("boot/vmlinuz-*"))
    if len(images) != 1:
        raise NoKernel(f"{archive.name} could not be unpacked: {done.stderr.strip()[-300:]}")
    if (tree / "usr/lib").is_dir():  # as Debian 13 has them
        (tree / "lib").symlink_to("usr/lib")
    version = images[0].name.partition("-")[2]
    _run("depmod", "-b", str(tree), version)
    archive.unlink()
    (CACHE / "ready").write_text(version)


def _name() -> str:
    for attempt in (1, 2):
        said = _run("apt-cache", "depends", PACKAGE, fails=False)
        found = [word for word in said.split() if word.startswith("linux-image-") and word != PACKAGE]
        if found:
            return found[0]
        if attempt == 1:
            _run("apt-get", "update", "-q", fails=False)
    raise NoKernel(f"apt knows no {PACKAGE}: it is Debian's, and its tests need Debian's kernel. Load the modules 8021q, ipvlan and dummy, "
                   "and the tests run directly")


def _download(name: str) -> Path:
    said = ""
    for old in CACHE.glob("*.deb"):
        old.unlink()
    for attempt in (1, 2):
        said = _run("apt-get", "download", "-q", name, fails=False)
        found = next(CACHE.glob("*.deb"), None)
        if found is not None:
            return found
        if attempt == 1:  # the lists may be older than the archive
            _run("apt-get", "update", "-q", fails=False)
    raise NoKernel(f"{name} could not be downloaded: {said.strip()[-300:]}")


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
    return data


def _run(*words: str, fails: bool = True) -> str:
    try:
        done = subprocess.run(words, cwd=CACHE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_SECONDS, check=False,
                              env={**os.environ, **_PATH})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoKernel(f"{' '.join(words)}: {error}") from error
    if fails and done.returncode != 0:
        raise NoKernel(f"{' '.join(words)}: {done.stdout.strip()[-300:]}")
    return done.stdout


def cpio(files: Sequence[tuple[str, int, bytes]]) -> bytes:
    """An archive in the form of an initramfs (newc: Documentation/driver-api/early-userspace/buffer-format.rst) of (name, mode, data)."""
    out = bytearray()
    for number, (name, mode, data) in enumerate((*files, ("TRAILER!!!", 0, b"")), 1):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + path
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)
