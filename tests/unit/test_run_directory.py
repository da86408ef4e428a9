"""The run directory of a container goes for good, though its shim still writes into it."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest

from helperd.containers.endings import discard
from helperd.containers.run_dir import OUTPUT, write_whole


@pytest.mark.req("W3")
def test_it_goes_whatever_is_written_into_it_meanwhile(tmp_path: Path) -> None:
    for number in range(100):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "hosts").write_text("127.0.0.1 localhost\n")
        ended = threading.Event()

        def write(directory: Path = directory, ended: threading.Event = ended) -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    write_whole(str(directory), OUTPUT, b"its last words")

        shim = threading.Thread(target=write)
        shim.start()
        discard(directory)
        ended.set()
        shim.join()
        assert not directory.exists()
    discard(tmp_path / "never made")
