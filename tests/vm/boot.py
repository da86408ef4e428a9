"""Starts the virtual machine: ``python -m tests.vm.boot FOLDER [COMMAND…]`` makes what it needs and becomes QEMU.

COMMAND, else pytest, runs inside, in the folder of the checkout; the machine ends with it. QEMU emulates it in software, so that it works
wherever it is installed. Its files are this machine's, read-only; what it writes is in its memory, but for FOLDER, which is how it answers.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.report_writer import PLACE
from tests.reports_elsewhere import REPORTS, TESTS
from tests.vm.kernel import ROOT, Kernel, NoKernel, cpio, kernel

INSIDE = "NETDECK_IN_VM"
OUT = "/run/out"
CONSOLE, WORDS, STATUS = "console", "inside", "status"

# The machine is nobody's, so what keeps its programs from each other is switched off: it costs a third of the time in emulation.
# Code that lies at the same address in each process is translated once. A processor without AVX has C's functions written without it, and
# fewer levels of page tables: that is a fifth.
_APPEND = ("console=ttyS0 loglevel=3 panic=-1 mitigations=off init_on_alloc=0 audit=0 apparmor=0 nokaslr norandmaps "
           "transparent_hugepage=always tsc=reliable no_timer_check cryptomgr.notests random.trust_cpu=1")
_PROCESSOR = "Nehalem"
_DRIVERS = ("virtio_pci", "9pnet_virtio", "9p")
# Only the plugins that the tests need: to import the others takes long here. A test may take long where the processors are shared.
_PYTEST = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "tests.report_writer", "-p", "no:cacheprovider", "-q",
           "-o", "timeout=600", "--basetemp=/run/netdeck-tests")


def _qemu(built: Kernel, out: Path, inside: Sequence[str]) -> list[str]:
    if shutil.which("qemu-system-x86_64") is None:
        raise NoKernel("qemu-system-x86_64 is missing: run ./netdeck --set-up test")
    # Python can't write what it compiles there.
    subprocess.run([sys.executable, "-m", "compileall", "-q", "protocol", "drivers", "helperd", "tui", "tests"], cwd=ROOT, timeout=300,
                   check=False, stdout=subprocess.DEVNULL)
    modules = built.modules(*_DRIVERS)
    folders = [(name, 0o40755, b"") for name in ("bin", "lib", "new", "proc", "dev")]
    busybox = shutil.which("busybox")
    if busybox is None:
        raise NoKernel("busybox is missing: run ./netdeck --set-up test")
    files = [("bin/busybox", 0o100755, Path(busybox).read_bytes()), ("init", 0o100755, _init(name for name, _ in modules).encode())]
    (out / "initramfs").write_bytes(cpio([*folders, *files, *((f"lib/{name}", 0o100644, data) for name, data in modules)]))
    (out / "main").write_text(_main(built, inside or _pytest()))
    return ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", _PROCESSOR, "-smp", "2", "-m", "1G",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{out / CONSOLE}",
            "-kernel", str(built.image), "-initrd", str(out / "initramfs"), "-append", _APPEND,
            *_export("root", "/", ",readonly=on"), *_export("out", str(out))]


def _export(tag: str, path: str, how: str = "") -> list[str]:
    return ["-fsdev", f"local,id={tag},path={path},security_model=none,multidevs=remap{how}",
            "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


def _init(modules: Iterable[str]) -> str:
    """The first program inside. With its cache, a file system over 9p is three times as quick; nobody changes these files meanwhile."""
    load = "\n".join(f"insmod /lib/{name}" for name in modules)
    place = shlex.quote(str(ROOT))  # which may be below /tmp
    return f"""#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
exec > /dev/ttyS0 2>&1
{load}
umount /proc /dev 2> /dev/null
share=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o ro,cache=loose,$share root /new || poweroff -f
mount -t proc proc /new/proc
mount -t sysfs sys /new/sys
mount -t devtmpfs dev /new/dev
mkdir -p /new/dev/pts /new/dev/shm
mount -t devpts pts /new/dev/pts
mkdir /keep && mount --bind /new{place} /keep
for place in dev/shm run tmp var/tmp var/lib; do mount -t tmpfs tmpfs /new/$place; done
if [ -e /new{place}/pyproject.toml ]; then umount /keep; else mkdir -p /new{place} && mount --move /keep /new{place}; fi
mkdir -p /new/run/netns /new{OUT}
mount -t 9p -o cache=none,$share out /new{OUT} || poweroff -f
exec switch_root /new /bin/sh {OUT}/main
"""


def _pytest() -> list[str]:
    return [sys.executable, "-m", "pytest", *_PYTEST, f"@{OUT}/{TESTS}"]


def _main(built: Kernel, inside: Sequence[str]) -> str:
    """What runs inside with this machine's files: `inside`, then the end. Modules are loaded when they are asked for, as everywhere."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/run", "LC_ALL": "C.UTF-8", INSIDE: "1",
                   "CI": os.environ.get("CI", ""), "PYTHONDONTWRITEBYTECODE": "1",
                   "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", PLACE: f"{OUT}/{REPORTS}"}
    return "\n".join((
        *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
        f"exec > {OUT}/{WORDS} 2>&1",
        "printf '#!/bin/sh\\nexec modprobe -d %s \"$@\"\\n' " + shlex.quote(str(built.root)) + " > /run/modprobe",
        "chmod 755 /run/modprobe",
        "echo /run/modprobe > /proc/sys/kernel/modprobe",
        "ip link set lo up",
        f"cd {shlex.quote(str(ROOT))} && {shlex.join(inside)}",
        f"status=$?; echo $status > {OUT}/{STATUS}; echo \"it ended with $status\"",
        "sync",
        "echo o > /proc/sysrq-trigger",
        "sleep 60\n",
    ))


def main(out: Path, inside: Sequence[str]) -> None:
    try:
        command = _qemu(kernel(), out, inside)
    except (NoKernel, OSError) as error:
        sys.exit(f"the virtual machine can't be started: {error}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
