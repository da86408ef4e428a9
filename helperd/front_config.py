"""What the core tells a front when it starts it: who it serves and what the limits are. The first frame on their pipe."""

from __future__ import annotations

import msgspec

from helperd.roles import Roles


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds that keep one client from harming the others. A message costs one token and one more per KiB; a refused one
    costs `penalty` more."""

    clients: int = 128
    clients_of_user: int = 64  # root may have all
    calls: int = 64  # outstanding, of one client
    subscriptions: int = 16  # of one client
    rate: float = 8_000.0  # tokens a second and client
    burst: float = 16_000.0
    penalty: float = 20.0
    silence: float = 60.0  # seconds after which a client that says nothing is forgotten
    client_bytes: int = 33_554_432  # waiting for one client
    total_bytes: int = 100_663_296  # waiting for all
    memory: int = 268_435_456  # of the process (RLIMIT_DATA): libzmq has no limit on the frames of one message
    connections: int = 512  # clients or not; above, one that never said a word ends for each that comes
    files: int = 4_096  # room for those that come while that is done


class TcpAccess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The optional tcp endpoint: CURVE only. Keys are Z85 text; `keys` says which user each authorised key stands for."""

    endpoint: str
    public_key: str
    secret_key: str
    keys: dict[str, int]


class FrontConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`first_client` starts the numbers of this front's clients, so that no two fronts of one core use the same."""

    epoch: str
    roles: Roles = Roles()
    instance: str = ""
    host: str = ""
    lab: bool = False
    program: str = ""
    limits: Limits = Limits()
    tcp: TcpAccess | None = None
    first_client: int = 1
