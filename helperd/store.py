"""SQLite: desired state, leases, the journal, and the answers to calls that carried a key.

WAL with synchronous=FULL: what was committed survives the death of the process and of the machine. One writer, the core. Every
change is two transactions: `begin` writes what is about to happen (rows in an interim state, the leases, a journal entry),
`finish` makes it so, `abort` takes it back. A journal entry found at start is a change that was cut off.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import msgspec

from protocol.errors import Conflict, Unavailable
from protocol.model import Container, Endpoint, Network

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE networks (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, state TEXT NOT NULL, doc TEXT NOT NULL) STRICT;
CREATE TABLE containers (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, state TEXT NOT NULL, doc TEXT NOT NULL) STRICT;
CREATE TABLE endpoints (id TEXT PRIMARY KEY, network TEXT NOT NULL REFERENCES networks(id),
  container TEXT NOT NULL REFERENCES containers(id), state TEXT NOT NULL, doc TEXT NOT NULL,
  UNIQUE (network, container)) STRICT;
CREATE TABLE leases (network TEXT NOT NULL, address TEXT NOT NULL, endpoint TEXT NOT NULL REFERENCES endpoints(id)
  ON DELETE CASCADE, PRIMARY KEY (network, address)) STRICT, WITHOUT ROWID;
CREATE INDEX lease_of ON leases (endpoint);
CREATE TABLE last_address (network TEXT NOT NULL REFERENCES networks(id) ON DELETE CASCADE, subnet TEXT NOT NULL,
  address TEXT NOT NULL, PRIMARY KEY (network, subnet)) STRICT, WITHOUT ROWID;
CREATE TABLE journal (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, uid INTEGER NOT NULL, time REAL NOT NULL,
  doc TEXT NOT NULL) STRICT;
CREATE TABLE answers (uid INTEGER NOT NULL, key TEXT NOT NULL, op TEXT NOT NULL, time REAL NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY (uid, key)) STRICT, WITHOUT ROWID;
"""
# Of a later day than version 1, and made where it is missing: `wild` stands for all addresses of the family.
_PORTS = """
CREATE TABLE IF NOT EXISTS ports (protocol TEXT NOT NULL, family INTEGER NOT NULL, port INTEGER NOT NULL, host TEXT NOT NULL,
  wild INTEGER NOT NULL, endpoint TEXT NOT NULL REFERENCES endpoints(id) ON DELETE CASCADE,
  PRIMARY KEY (protocol, family, port, host)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ports_of ON ports (endpoint);
"""
ANSWERS_KEPT = 10_000
LOG_PAGES = 1000  # after so many, what the log holds is moved to the database and the log begins anew
LOG_BYTES = 32 + (LOG_PAGES + 64) * (24 + 4096)

Row = TypeVar("Row", Network, Container, Endpoint)


class Change(msgspec.Struct, frozen=True):
    """What a change does to the stored state. New rows are those whose id is not stored yet; the others replace theirs."""

    kind: str
    uid: int
    networks: tuple[Network, ...] = ()
    containers: tuple[Container, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    drop_networks: tuple[str, ...] = ()
    drop_containers: tuple[str, ...] = ()
    drop_endpoints: tuple[str, ...] = ()
    drop_leases: tuple[tuple[str, str], ...] = ()  # (network id, bare address)


class Journalled(msgspec.Struct, frozen=True):
    """A journal entry that was found at start."""

    id: int
    kind: str
    change: Change


def lease_address(prefix: str) -> str:
    """The bare address of a prefix, as leases hold it."""
    return prefix.partition("/")[0]


class Store:
    """The store of one helper. All methods are synchronous and quick (a commit takes about 0.3 ms)."""

    def __init__(self, directory: Path) -> None:
        """Open or make ``state.db`` in `directory` (0700). Raises Unavailable when it is of a later version or damaged."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path = directory / "state.db"
        old = os.umask(0o077)
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
                                   f"PRAGMA busy_timeout=2000; PRAGMA wal_autocheckpoint={LOG_PAGES}; PRAGMA cache_size=-1024;")
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version == 0:
                self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
            if version in (0, SCHEMA_VERSION):
                self._db.executescript(_PORTS)
        except sqlite3.DatabaseError as error:
            raise Unavailable(f"{path} can't be opened as the helper's store: {error}. Move it away to begin anew "
                              "(networks of before are then unknown)", path=str(path)) from error
        finally:
            os.umask(old)
        if version not in (0, SCHEMA_VERSION):
            raise Unavailable(f"{path} has version {version}, this helper knows {SCHEMA_VERSION}: install the netdeck that "
                              "wrote it, or move the file away", path=str(path))
        self.instance = self._meta("instance", secrets.token_hex(4))
        self._lengthen_log()

    def _lengthen_log(self) -> None:
        """Give the log its full length at once: to commit where the file need not grow takes a quarter of the time.

        SQLite reads a log up to the first frame that its header does not vouch for, which the zeros are (fileformat2.html, 4.4).
        A disk with little room is left to those who need it.
        """
        with suppress(OSError), open(f"{self._path}-wal", "ab") as log:
            room = os.fstatvfs(log.fileno())
            if room.f_bavail * room.f_frsize < 16 * LOG_BYTES:
                return
            log.write(bytes(max(0, LOG_BYTES - log.tell())))
            log.flush()
            os.fdatasync(log.fileno())

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self, *, lasting: bool = True) -> Iterator[sqlite3.Connection]:
        """Whole or not at all. With `lasting` it is on the disk when this returns, else at the latest with the next that is.

        Raises Conflict, and Unavailable where the file can't be written (a full disk)."""
        try:
            self._db.execute("PRAGMA synchronous=" + ("FULL" if lasting else "NORMAL"))
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, sqlite3.IntegrityError):
                raise Conflict(f"the store refuses the change, something with the same name or address exists: {error}") from error
            if isinstance(error, sqlite3.Error):
                raise Unavailable(f"the helper's store {self._path} can't be written: {error}. Nothing was changed; see to it that "
                                  "its disk has room and works", path=str(self._path)) from error
            raise

    def _roll_back(self) -> None:
        # After some errors, a full disk among them, SQLite has rolled back by itself.
        if self._db.in_transaction:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def _meta(self, name: str, default: str) -> str:
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, default))
            return str(db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])

    def flag(self, name: str) -> bool:
        """True the first time that it is asked for `name`, ever."""
        with self._transaction() as db:
            return db.execute("INSERT OR IGNORE INTO meta VALUES (?, '1')", (name,)).rowcount == 1

    def note(self, name: str) -> str:
        """What was kept under `name`, "" where nothing was."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", ("note " + name,)).fetchone()
        return "" if row is None else str(row[0])

    def keep_note(self, name: str, value: str) -> None:
        """Keep a word of the helper's own under `name`."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", ("note " + name, value))

    def networks(self) -> list[Network]:
        return self._all("networks", Network)

    def containers(self) -> list[Container]:
        return self._all("containers", Container)

    def endpoints(self) -> list[Endpoint]:
        return self._all("endpoints", Endpoint)

    def _all(self, table: str, kind: type[Row]) -> list[Row]:
        rows = self._db.execute(f"SELECT doc FROM {table} ORDER BY rowid").fetchall()
        return [msgspec.json.decode(row[0], type=kind) for row in rows]

    def last_addresses(self) -> dict[tuple[str, str], str]:
        """(network id, subnet) → the address handed out last."""
        return {(row[0], row[1]): row[2] for row in self._db.execute("SELECT network, subnet, address FROM last_address")}

    def leases(self) -> dict[str, dict[str, str]]:
        """Network id → bare address → endpoint id."""
        found: dict[str, dict[str, str]] = {}
        for network, address, endpoint in self._db.execute("SELECT network, address, endpoint FROM leases"):
            found.setdefault(network, {})[address] = endpoint
        return found

    def journal(self) -> list[Journalled]:
        rows = self._db.execute("SELECT id, kind, doc FROM journal ORDER BY id").fetchall()
        return [Journalled(row[0], row[1], msgspec.json.decode(row[2], type=Change)) for row in rows]

    def begin(self, change: Change) -> int:
        """Transaction one: write `change` in its interim state with its leases."""
        # This need not outlive the machine, which takes the kernel's objects with it; the death of the process it does outlive.
        with self._transaction(lasting=False) as db:
            for network in change.networks:
                self._insert(db, "networks", ("name",), (network.id, network.name), network)
            for container in change.containers:
                self._insert(db, "containers", ("name",), (container.id, container.name), container)
            fresh: set[str] = set()
            for endpoint in change.endpoints:
                if self._insert(db, "endpoints", ("network", "container"), (endpoint.id, endpoint.network, endpoint.container), endpoint):
                    fresh.add(endpoint.id)
                db.executemany("INSERT INTO leases VALUES (?, ?, ?)" if endpoint.id in fresh else
                               "INSERT OR IGNORE INTO leases VALUES (?, ?, ?)",
                               [(endpoint.network, lease_address(item), endpoint.id) for item in endpoint.addresses])
            # What is new and has no port has no lease of one either.
            self._let_ports(db, [item for item in change.endpoints if item.ports or item.id not in fresh], change.drop_endpoints)
            for table, ids in (("networks", change.drop_networks), ("containers", change.drop_containers),
                               ("endpoints", change.drop_endpoints)):
                if ids:
                    db.executemany(f"UPDATE {table} SET state = 'going' WHERE id = ?", [(ident,) for ident in ids])
            cursor = db.execute("INSERT INTO journal (kind, uid, time, doc) VALUES (?, ?, ?, ?)",
                                (change.kind, change.uid, time.time(), msgspec.json.encode(change).decode()))
            return int(cursor.lastrowid or 0)

    @staticmethod
    def _let_ports(db: sqlite3.Connection, endpoints: Sequence[Endpoint], gone: Iterable[str] = ()) -> None:
        """Give `endpoints` the leases of their ports, in the place of those they had. Raises Conflict."""
        wanted = {(port.protocol, 6 if ":" in port.host else 4, port.host_port, port.host): endpoint.id
                  for endpoint in endpoints for port in endpoint.ports}
        touched = [(ident,) for ident in dict.fromkeys((*(item.id for item in endpoints), *gone))]
        had = {(row[0], row[1], row[2], row[3]): str(row[4]) for ident in touched for row in db.execute(
            "SELECT protocol, family, port, host, endpoint FROM ports WHERE endpoint = ?", ident)}
        db.executemany("DELETE FROM ports WHERE (protocol, family, port, host) = (?, ?, ?, ?)",
                       [key for key, owner in had.items() if wanted.get(key) != owner])
        for key, endpoint in wanted.items():
            if had.get(key) == endpoint:
                continue
            wild = int(key[3] in ("0.0.0.0", "::"))
            row = db.execute("SELECT endpoint FROM ports WHERE (protocol, family, port) = (?, ?, ?) AND (? OR wild OR host = ?)",
                             (*key[:3], wild, key[3])).fetchone()
            if row is not None:
                raise Conflict(f"port {key[2]}/{key[0]} is published already (by endpoint {row[0][:12]})", field="publish",
                               value=str(key[2]), with_=row[0][:12])
            db.execute("INSERT INTO ports VALUES (?, ?, ?, ?, ?, ?)", (*key, wild, endpoint))

    @staticmethod
    def _let_leases(db: sqlite3.Connection, endpoints: Iterable[Endpoint]) -> None:
        """Take away what a change that was taken back gave endpoints that stay."""
        for endpoint in endpoints:
            kept = {lease_address(prefix) for prefix in endpoint.addresses}
            for address, in db.execute("SELECT address FROM leases WHERE endpoint = ?", (endpoint.id,)).fetchall():
                if address not in kept:
                    db.execute("DELETE FROM leases WHERE network = ? AND address = ?", (endpoint.network, address))

    @staticmethod
    def _insert(db: sqlite3.Connection, table: str, columns: tuple[str, ...], values: tuple[str, ...], doc: msgspec.Struct) -> bool:
        """A row in its interim state; `values` are its id and `columns`. False, with nothing done, where there is one with that id."""
        names = ", ".join(("id", *columns, "state", "doc"))
        marks = ", ".join("?" * (len(columns) + 3))
        cursor = db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT (id) DO NOTHING",
                            (*values, "coming", msgspec.json.encode(doc).decode()))
        return cursor.rowcount == 1

    def finish(self, entry: int, change: Change, last: Mapping[tuple[str, str], str] = MappingProxyType({}),
               call: tuple[int, str, str] | None = None) -> None:
        """Transaction two: the change is done. `last` are the addresses that were handed out. `call` is (uid, key, operation) of a
        keyed call that it belongs to: from here on that call counts as carried out, even if the helper dies before it answers."""
        with self._transaction() as db:
            for table, gone in (("endpoints", change.drop_endpoints), ("containers", change.drop_containers),
                                ("networks", change.drop_networks)):
                if gone:
                    db.executemany(f"DELETE FROM {table} WHERE id = ?", [(ident,) for ident in gone])
            if change.drop_leases:
                db.executemany("DELETE FROM leases WHERE network = ? AND address = ?", change.drop_leases)
            for table, docs in (("networks", change.networks), ("containers", change.containers),
                                ("endpoints", change.endpoints)):
                if docs:
                    db.executemany(f"UPDATE {table} SET state = 'ready', doc = ? WHERE id = ?",
                                   [(msgspec.json.encode(doc).decode(), doc.id) for doc in docs])
            db.executemany("INSERT OR REPLACE INTO last_address VALUES (?, ?, ?)",
                           [(network, subnet, address) for (network, subnet), address in last.items()])
            db.execute("DELETE FROM journal WHERE id = ?", (entry,))
            if call is not None:
                db.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, x'')", (*call, time.time()))

    def abort(self, entry: int) -> None:
        """Take transaction one back: what was coming goes, what was going stays."""
        with self._transaction() as db:
            for table in ("endpoints", "containers", "networks"):
                db.execute(f"DELETE FROM {table} WHERE state = 'coming'")
                db.execute(f"UPDATE {table} SET state = 'ready' WHERE state = 'going'")
            row = db.execute("SELECT doc FROM journal WHERE id = ?", (entry,)).fetchone()
            change = msgspec.json.decode(row[0], type=Change) if row else Change("", 0)
            touched = {*(item.id for item in change.endpoints), *change.drop_endpoints}
            left = [item for item in self.endpoints() if item.id in touched] if touched else []
            self._let_ports(db, left)
            self._let_leases(db, left)
            db.execute("DELETE FROM journal WHERE id = ?", (entry,))

    def recover(self) -> list[Journalled]:
        """After a start: what was coming is taken back, what was going is gone. Returns the changes that were cut off."""
        found = self.journal()
        with self._transaction() as db:
            for table in ("endpoints", "containers", "networks"):
                db.execute(f"DELETE FROM {table} WHERE state IN ('coming', 'going')")
            if found:
                left = self.endpoints()
                db.execute("DELETE FROM ports")
                self._let_ports(db, left)
                self._let_leases(db, left)
            db.execute("DELETE FROM journal")
        return found

    def put(self, change: Change) -> None:
        """A change that touches no kernel object, in one transaction."""
        self.finish(self.begin(change), change)

    def answer(self, uid: int, key: str) -> tuple[str, bytes] | None:
        """(operation, encoded value) of the call that `uid` made with `key`, if it was carried out."""
        row = self._db.execute("SELECT op, value FROM answers WHERE uid = ? AND key = ?", (uid, key)).fetchone()
        return (str(row[0]), bytes(row[1])) if row else None

    def remember(self, uid: int, key: str, op: str, value: bytes) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", (uid, key, op, time.time(), value))
            db.execute("DELETE FROM answers WHERE (uid, key) IN (SELECT uid, key FROM answers ORDER BY time DESC "
                       "LIMIT -1 OFFSET ?)", (ANSWERS_KEPT,))
