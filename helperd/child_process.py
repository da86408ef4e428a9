"""The core's children that read what strangers send: how one is started, and that there is always one."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

STEADY_SECONDS = 10.0  # one that lived so long is replaced at once, without waiting
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
ANSWER_SECONDS = 2.0  # that one may take to say what it counts

_ROOT = Path(__file__).resolve().parent.parent


async def keep_running(what: str, one: Callable[[], Awaitable[str]], log: logging.Logger) -> None:
    """Call `one`, which starts a child and returns why it ended, again and again until cancelled. It ends the child it has when it
    is cancelled."""
    pause = FIRST_PAUSE
    while True:
        started = time.monotonic()
        try:
            reason = await one()
        except OSError as error:
            reason = f"can't be started: {error}"
        lived = time.monotonic() - started
        if lived >= STEADY_SECONDS:
            pause = FIRST_PAUSE
        log.warning("the %s ended after %.1f s (%s); another starts in %.2f s", what, lived, reason, pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def start_child(module: str, words: Sequence[str], descriptors: Sequence[int], users: Sequence[str]) -> asyncio.subprocess.Process:
    """``python -m module`` with `words`, which keeps `descriptors`, and becomes the first of `users` that exists, else its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-s", "-m", module, *words, *(word for user in users for word in ("--user", user)),
        pass_fds=tuple(descriptors), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, start_new_session=True,
        env=child_environment())


class Counted:
    """Those who wait for what a child counts."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[dict[str, int]]] = []

    async def ask(self, question: Callable[[], None]) -> dict[str, int] | None:
        """Ask the child by `question`; what `answer` is given next, None where that is nothing within 2 s."""
        future: asyncio.Future[dict[str, int]] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        question()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await future
        except TimeoutError:
            return None

    def answer(self, counts: dict[str, int]) -> None:
        """What the child said, or that it is gone: nothing."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(counts)


def child_environment() -> dict[str, str]:
    """Nothing of the core's environment but what finds the modules, and small arenas for malloc."""
    path = [str(_ROOT), *(entry for entry in sys.path if entry and entry != str(_ROOT))]
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "1",
    }


def resident(pid: int) -> int:
    """Resident bytes of a process (proc(5), statm)."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
