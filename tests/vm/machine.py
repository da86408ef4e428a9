"""The virtual machine: booted once for all tests marked ``vm``, which run in one process inside; their reports come out as they are made.

QEMU emulates it in software, so that it works wherever it is installed. Its files are this machine's, read-only; what it writes is in its
memory, but for one folder, which is how it answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.vm.kernel import ROOT, Kernel, NoKernel, cpio, kernel

BOOT_SECONDS = 300.0  # until the first word from inside: 20 s where nothing else runs
QUIET_SECONDS = 260.0  # between two reports
REPORTS, SAID, CONSOLE, TESTS = "reports", "said", "console", "tests"
INSIDE = "NETDECK_IN_VM"
OUT = "/run/out"

# The machine is nobody's, so what keeps its programs from each other is switched off: it costs a third of the time in emulation.
_APPEND = ("console=ttyS0 loglevel=3 panic=-1 mitigations=off init_on_alloc=0 audit=0 apparmor=0 nokaslr transparent_hugepage=always "
           "tsc=reliable no_timer_check cryptomgr.notests random.trust_cpu=1")
_DRIVERS = ("virtio_pci", "9pnet_virtio", "9p")
# Only the plugins that the tests need: to import the others takes long here.
_PYTEST = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "tests.vm.inside", "-p", "no:cacheprovider", "-q",
           "-o", "timeout=240", "--basetemp=/run/netdeck-tests")


class Machine:
    """One boot. `reports_of` waits for what a test's reports are; `close` ends it."""

    def __init__(self, tests: Sequence[str], command: Sequence[str] = ()) -> None:
        """`command` is run in the place of QEMU."""
        self.started = time.monotonic()
        self.booted: float | None = None  # seconds that it took
        self._folder = tempfile.TemporaryDirectory(prefix="netdeck-vm-")
        self.out = Path(self._folder.name)
        self._found: dict[str, list[dict[str, Any]]] = {}
        self._whole: set[str] = set()
        self._read = 0
        self._heard = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None
        self.trouble = ""
        try:
            (self.out / TESTS).write_text("".join(f"{test}\n" for test in tests))
            self._start(command or self._qemu(kernel()))
        except (NoKernel, OSError) as error:
            self.trouble = f"the virtual machine can't be started: {error}"

    def _qemu(self, built: Kernel) -> list[str]:
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
        (self.out / "initramfs").write_bytes(cpio([*folders, *files, *((f"lib/{name}", 0o100644, data) for name, data in modules)]))
        (self.out / "main").write_text(_main(built))
        return ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp", "2", "-m", "1G",
                "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{self.out / CONSOLE}",
                "-kernel", str(built.image), "-initrd", str(self.out / "initramfs"), "-append", _APPEND,
                *_export("root", "/", ",readonly=on"), *_export("out", str(self.out))]

    def _start(self, command: Sequence[str]) -> None:
        # It must not outlive us, whatever ends us.
        with (self.out / "emulator").open("wb") as said:
            self._process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=said,
                                             stderr=said, start_new_session=True)

    def reports_of(self, test: str) -> list[dict[str, Any]]:
        """The reports of a test, serialized; not all of them where the machine ended first: see `trouble`."""
        while test not in self._whole and not self.trouble:
            if not self._look():
                self._check()
                time.sleep(0.05)
        return self._found.get(test, [])

    def whole(self, test: str) -> bool:
        """Whether the test ended, and all its reports have come."""
        return test in self._whole

    def _look(self) -> bool:
        """Read what has come; False where nothing has."""
        try:
            with (self.out / REPORTS).open("rb") as file:
                file.seek(self._read)
                lines = [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]
        except FileNotFoundError:
            return False
        for line in lines:
            self._read += len(line)
            self._take(json.loads(line))
        if lines:
            self._heard = time.monotonic()
        return bool(lines)

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("begun"):
            self.booted = time.monotonic() - self.started
        elif "done" in message:
            self._whole.add(message["done"])
        else:
            self._found.setdefault(message["test"], []).append(message["report"])

    def _check(self) -> None:
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            if not self._look():
                self.trouble = f"the virtual machine ended before this test had (status {self._process.returncode})"
        elif self.booted is None and now - self.started > BOOT_SECONDS:
            self.trouble = f"the virtual machine did not come up in {BOOT_SECONDS:.0f} s"
        elif self.booted is not None and now - self._heard > QUIET_SECONDS:
            self.trouble = f"nothing was heard from the virtual machine for {QUIET_SECONDS:.0f} s"
        if self.trouble:
            self.trouble += self._last_words()
            self._kill()

    def _last_words(self) -> str:
        """The ends of what was said inside, on the console and by QEMU."""
        words = ""
        for name in (SAID, CONSOLE, "emulator"):
            with contextlib.suppress(OSError):
                text = (self.out / name).read_text(errors="backslashreplace").strip()
                if text:
                    words += f"\n--- {name} ---\n{text[-3000:]}"
        return words

    def _kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End it; it has nothing to keep."""
        self._kill()
        self._folder.cleanup()


def _export(tag: str, path: str, how: str = "") -> list[str]:
    return ["-fsdev", f"local,id={tag},path={path},security_model=none,multidevs=remap{how}",
            "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


def _init(modules: Any) -> str:
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


def _main(built: Kernel) -> str:
    """What runs inside with this machine's files: pytest, then the end. Modules are loaded when they are asked for, as everywhere."""
    pytest = shlex.join([str(ROOT / ".venv/bin/python"), "-m", "pytest", *_PYTEST, f"@{OUT}/{TESTS}"])
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/run", "LC_ALL": "C.UTF-8", INSIDE: "1",
                   "CI": os.environ.get("CI", ""), "PYTHONDONTWRITEBYTECODE": "1",
                   "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "NETDECK_VM_OUT": OUT}
    return "\n".join((
        *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
        f"exec > {OUT}/{SAID} 2>&1",
        "printf '#!/bin/sh\\nexec modprobe -d %s \"$@\"\\n' " + shlex.quote(str(built.root)) + " > /run/modprobe",
        "chmod 755 /run/modprobe",
        "echo /run/modprobe > /proc/sys/kernel/modprobe",
        "ip link set lo up",
        f"cd {shlex.quote(str(ROOT))} && {pytest}",
        'echo "pytest ended with $?"',
        "sync",
        "echo o > /proc/sysrq-trigger",
        "sleep 60\n",
    ))
