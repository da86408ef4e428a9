"""libnftables in process, through ctypes: JSON in, JSON out, whole transactions (exec of `nft` costs 16 times as much).

The library's context, with its netlink socket, lives in one thread. Sources: nftables/libnftables.h, libnftables(3),
libnftables-json(5).
"""

from __future__ import annotations

import ctypes
import json
import re
from collections.abc import Sequence
from typing import Any

from protocol.errors import Unavailable

LIBRARY = "libnftables.so.1"
_PLACE = re.compile(r"\A[^ :]*:[0-9]+:[0-9]+-[0-9]+: ")
_OUTPUT_HANDLE = 1 << 3  # NFT_CTX_OUTPUT_HANDLE
_OUTPUT_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON
_OUTPUT_PLAIN = 1 << 2 | 1 << 11  # NFT_CTX_OUTPUT_STATELESS, NFT_CTX_OUTPUT_TERSE: no counts, no elements of sets

Command = dict[str, Any]


class NftRefused(Exception):
    """A transaction was refused, and nothing of it was done. The text is the library's, which holds the kernel's error."""


class Nft:
    """One context of the library. All calls come from the thread that made it, in the namespace whose tables it is for.

    Raises Unavailable, naming the Debian package, where the library is not installed or can't be used.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        try:
            self._library = ctypes.CDLL(library)
        except OSError as error:
            raise Unavailable(
                f"the firewall needs {library}, which can't be loaded ({error}): "
                "install the package libnftables1 (apt install libnftables1)",
                package="libnftables1",
            ) from error
        _declare(self._library)
        self._context: int | None = self._library.nft_ctx_new(0)
        if not self._context:
            raise Unavailable(
                "libnftables could not open its netlink socket: the kernel needs nf_tables", package="libnftables1"
            )
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)
        self._library.nft_ctx_output_set_flags(self._context, _OUTPUT_HANDLE | _OUTPUT_JSON)

    def run(self, commands: Sequence[Command]) -> list[Command]:
        """Carry out `commands` as one transaction, and return the objects that were listed. Raises NftRefused."""
        output = self._carry_out(json.dumps({"nftables": list(commands)}).encode())
        if not output.strip():
            return []
        listed: list[Command] = json.loads(output.decode("utf-8", "backslashreplace"))["nftables"]
        return listed

    def text(self, command: str) -> str:
        """What a listing says in nft's own words, with handles and without counts. Raises NftRefused."""
        return self._plain(command, _OUTPUT_PLAIN).decode("utf-8", "backslashreplace")

    def run_text(self, text: str) -> None:
        """Carry out commands of nft(8) as one transaction. Raises NftRefused."""
        self._plain(text)

    def _plain(self, text: str, flags: int = 0) -> bytes:
        self._library.nft_ctx_output_set_flags(self._context, _OUTPUT_HANDLE | flags)  # with JSON it would try to read that first
        try:
            return self._carry_out(text.encode())
        finally:
            self._library.nft_ctx_output_set_flags(self._context, _OUTPUT_HANDLE | _OUTPUT_JSON)

    def _carry_out(self, text: bytes) -> bytes:
        if self._context is None:
            raise Unavailable("the firewall is closed")
        status = self._library.nft_run_cmd_from_buffer(self._context, text)
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        words = self._library.nft_ctx_get_error_buffer(self._context)
        if status != 0:
            raise NftRefused(_first_line(words.decode("utf-8", "backslashreplace")))
        return output

    def close(self) -> None:
        """Free the context."""
        if self._context is not None:
            self._library.nft_ctx_free(self._context)
            self._context = None


def _declare(library: ctypes.CDLL) -> None:
    context = ctypes.c_void_p
    library.nft_ctx_new.restype = context
    library.nft_ctx_new.argtypes = (ctypes.c_uint32,)
    library.nft_ctx_free.argtypes = (context,)
    library.nft_ctx_free.restype = None
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = (context,)
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = (context,)
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_ctx_output_set_flags.argtypes = (context, ctypes.c_uint)
    library.nft_ctx_output_set_flags.restype = None
    library.nft_run_cmd_from_buffer.argtypes = (context, ctypes.c_char_p)


def _first_line(text: str) -> str:
    """The first complaint; the library repeats the command below each, which for a whole table is megabytes."""
    line = next((line for line in text.splitlines() if line.strip()), "refused without a reason")
    return _PLACE.sub("", line).removeprefix("Error: ")[:300]
