"""The table `inet netdeck`: a model of it in memory, and the kernel's table kept like it.

Written, hardly ever read: each change is one transaction. Where one fails, or somebody else deleted the table, the whole table
is loaded anew in one transaction, which leaves no moment without it. No other table is ever touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from drivers import nft_ports
from drivers.commands import describe
from drivers.nft_text import comment, lookup_comment, table_text
from drivers.objects import HOST, TABLE, VERDICT_MAPS, Chain, Jump, Key, TableItem
from helperd.kernel import nft_json
from helperd.kernel.namespaces import NamespaceRef, NamespaceThread
from helperd.kernel.nft import Command, Nft, NftRefused
from helperd.kernel.step_errors import RunFailed, doing
from helperd.plan import Step
from protocol.errors import Conflict, InvalidValue, KernelRefused, NetdeckError

T = TypeVar("T")
Model = Mapping[Key, TableItem]


class RuleCounter(NamedTuple):
    """What a rule has counted, whatever was reloaded meanwhile. Of what is lost with the table, up to the last reading."""

    chain: str
    comment: str
    packets: int
    bytes: int


_Counted = dict[tuple[str, str, int], tuple[int, int]]


class _Draft:
    """A model with changes that it keeps only once the kernel has taken them: to copy one with a thousand ports takes longer than to
    publish one."""

    def __init__(self, model: dict[Key, TableItem]) -> None:
        self._model = model
        self._changed: dict[Key, TableItem | None] = {}

    def get(self, key: Key) -> TableItem | None:
        return self._changed[key] if key in self._changed else self._model.get(key)

    def put(self, key: Key, item: TableItem | None) -> None:
        """None takes away what is there."""
        self._changed[key] = item

    def whole(self) -> Model:
        """A model of its own with the changes."""
        return {key: item for key, item in {**self._model, **self._changed}.items() if item is not None}

    def keep(self) -> None:
        """Let the model have the changes."""
        for key, item in self._changed.items():
            if item is None:
                self._model.pop(key, None)
            else:
                self._model[key] = item


class Firewall:
    """The table, in the namespace `place` (None: the process's own).

    Its work is done in one thread; a call waits for the one before. Errors: Unavailable without libnftables, KernelRefused.
    """

    def __init__(self, place: NamespaceRef | None = None) -> None:
        self._place = place
        self._thread = NamespaceThread("nft")
        self._nft: Nft | None = None
        self._model: dict[Key, TableItem] = {}
        self._loaded = False
        self._known = False  # whether a table of that name is known to be ours
        self._latest: _Counted = {}  # what the kernel's rules said when last read
        self._before: _Counted = {}  # what rules that were replaced by others had counted

    @property
    def table_present(self) -> bool:
        """True from the first load until the table is known to be lost."""
        return self._loaded

    def seed(self, objects: Iterable[TableItem]) -> None:
        """Say what the table shall hold at the next `load`."""
        self._model = {item.key: item for item in objects}

    def objects(self) -> frozenset[TableItem]:
        """What the kernel's table holds; nothing while it is not loaded."""
        return frozenset(list(self._model.values())) if self._loaded else frozenset()

    def lost(self) -> None:
        """Somebody else deleted the table: the next `load` or `apply` makes it again."""
        self._loaded = False

    async def load(self) -> None:
        """Load the whole table anew, in one transaction. What its rules have counted is kept."""
        await self._run(self._load)

    async def apply(self, steps: Sequence[Step]) -> None:
        """Carry out steps on chains and jumps as one transaction. On failure nothing of them is done, the table is loaded again
        as it was, and KernelRefused or InvalidValue says which step could not be."""
        try:
            await self._run(lambda: self._apply(steps, alone=False))
        except RunFailed as failed:
            raise failed.cause from failed

    def apply_now(self, steps: Sequence[Step]) -> None:
        """`apply` for another thread, which waits. Where the steps can't be done together they are done one by one up to the one
        that fails. Raises RunFailed."""
        self._thread.run(self._place, lambda: self._apply(steps, alone=True))

    async def counters(self) -> tuple[RuleCounter, ...]:
        """What each rule has counted, in the order of the table."""
        return await self._run(self._count)

    async def intact(self) -> bool:
        """Read the table back: True if it has the chains, rules (by their comments) and elements that it should have."""
        return await self._run(self._compare)

    async def remove(self) -> None:
        """Delete the table."""
        await self._run(self._remove)

    async def close(self) -> None:
        """Let the library go; the table stays."""
        await self._run(self._close)
        self._thread.close()

    async def _run(self, function: Callable[[], T]) -> T:
        return await self._thread.run_async(self._place, function)

    def _library(self) -> Nft:
        if self._nft is None:
            self._nft = Nft()
        return self._nft

    def _close(self) -> None:
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    def _remove(self) -> None:
        self._loaded = False
        self._library().run([nft_json.add_table(), nft_json.delete_table()])

    def _load(self, model: Model | None = None) -> None:
        wanted = self._model if model is None else model
        text = table_text(wanted.values())
        if self._loaded:
            self._read_counters()
        elif not self._known:
            self._refuse_strangers()
        try:
            self._library().run_text(text)
        except NftRefused as refusal:
            raise KernelRefused(
                f"loading the firewall table inet {TABLE}: {refusal}",
                object=f"table inet {TABLE}",
                errno=0,
                kernel=str(refusal),
            ) from refusal
        self._keep_counters(lambda chain: True)
        self._model = dict(wanted)
        self._loaded = self._known = True

    def _refuse_strangers(self) -> None:
        """Raise Conflict where the table is there and holds what a helper never puts in. A helper's own, of whatever version, has
        the first maps."""
        try:
            listed = self._library().run([nft_json.list_table()])
        except NftRefused:
            return
        maps = {entry["map"]["name"] for entry in listed if "map" in entry}
        self._latest = _counted(listed)  # what they counted under an earlier helper goes on
        if any("chain" in entry for entry in listed) and not {"forward-to", "forward-from"} <= maps:
            raise Conflict(f"there is a firewall table inet {TABLE} that netdeck did not make, which is never changed: see it with "
                           f"`nft list table inet {TABLE}`, and give it another name or delete it", name=f"inet {TABLE}")

    def _apply(self, steps: Sequence[Step], *, alone: bool) -> None:
        try:
            self._transaction(steps)
            return
        except InvalidValue as error:
            cause: NetdeckError = error
        except KernelRefused:
            # Perhaps somebody changed the table behind our back: with the whole of it anew, the same may well go.
            if self._loaded:
                self._load()
            try:
                self._transaction(steps)
                return
            except KernelRefused as error:
                cause = error
        if not alone or len(steps) == 1:
            raise RunFailed(0, cause)
        for number, step in enumerate(steps):
            try:
                self._transaction((step,))
            except NetdeckError as error:
                raise RunFailed(number, error) from error

    def _transaction(self, steps: Sequence[Step]) -> None:
        draft = _Draft(self._model)
        commands: list[Command] = []
        for step in steps:
            commands += _change(draft, step)
        if not self._loaded:
            self._load(draft.whole())
            return
        if commands:
            chains = {step.object.name for step in steps if isinstance(step.object, Chain) and step.action != "create"}
            if chains:
                self._read_counters()
            try:
                self._library().run(commands)
            except NftRefused as refusal:
                words = "; ".join(describe(step.object) for step in steps[:3])
                raise KernelRefused(
                    f"{doing(steps[0])}: {refusal}", object=words, errno=0, kernel=str(refusal)
                ) from refusal
            self._keep_counters(lambda chain: chain in chains)
            gone = {step.object.name for step in steps if isinstance(step.object, Chain) and step.action == "delete"}
            self._before = {key: value for key, value in self._before.items() if key[0] not in gone}
        draft.keep()

    def _count(self) -> tuple[RuleCounter, ...]:
        self._read_counters()
        return tuple(
            RuleCounter(
                key[0], key[1], packets + self._before.get(key, (0, 0))[0], size + self._before.get(key, (0, 0))[1]
            )
            for key, (packets, size) in self._latest.items()
        )

    def _keep_counters(self, replaced: Callable[[str], bool]) -> None:
        """Remember what the rules of chains that were just replaced had counted."""
        for key, (packets, size) in list(self._latest.items()):
            if replaced(key[0]):
                known = self._before.get(key, (0, 0))
                self._before[key] = (known[0] + packets, known[1] + size)
                del self._latest[key]

    def _read_counters(self) -> None:
        """Read what the kernel's rules say; where the table is gone, what was read last stays."""
        try:
            self._latest = _counted(self._library().run([nft_json.list_table()]))
        except NftRefused:
            return

    def _compare(self) -> bool:
        if not self._loaded:
            return False
        try:
            listed = self._library().run([nft_json.list_table()])
        except NftRefused:
            return False
        rules: dict[str, list[str]] = {}
        elements: set[tuple[str, str, str]] = set()
        ports: set[nft_ports.Element] = set()
        for entry in listed:
            if "chain" in entry:
                rules.setdefault(entry["chain"]["name"], [])
            elif "rule" in entry:
                rules.setdefault(entry["rule"]["chain"], []).append(entry["rule"].get("comment", ""))
            elif (kept := entry.get("map") or entry.get("set")) is not None and kept["name"] in nft_ports.NAMES:
                ports |= nft_json.elements(kept)
            elif "map" in entry:
                elements |= {
                    (entry["map"]["name"], str(key), str(value.get("jump", {}).get("target")))
                    for key, value in entry["map"].get("elem", ())
                }
        wanted: dict[str, list[str]] = {item.chain: [] for item in VERDICT_MAPS} | {
            item.name: [comment(rule.comment) for rule in item.rules]
            for item in self._model.values()
            if isinstance(item, Chain)
        }
        for item in VERDICT_MAPS:
            wanted[item.chain].append(lookup_comment(item))
        wanted |= nft_ports.comments()
        published = {nft_ports.element(item) for item in self._model.values() if not isinstance(item, Chain | Jump)}
        jumps = {(item.map, item.link, item.chain) for item in self._model.values() if isinstance(item, Jump)}
        return rules == wanted and elements == jumps and ports == published


def _counted(listed: Sequence[Command]) -> _Counted:
    """What the rules of a listing have counted; equal rules of a chain are numbered."""
    found: _Counted = {}
    for entry in listed:
        rule = entry.get("rule")
        if rule is None:
            continue
        counter = next((part["counter"] for part in rule["expr"] if "counter" in part), None)
        if isinstance(counter, dict):
            number = 0
            while (key := (rule["chain"], rule.get("comment", ""), number)) in found:
                number += 1
            found[key] = (counter["packets"], counter["bytes"])
    return found


def _change(draft: _Draft, step: Step) -> list[Command]:
    """Change `draft` by `step`, and say by which commands the table follows. What is as it should be needs none."""
    item = step.object
    if not isinstance(item, TableItem) or item.place != HOST:
        raise InvalidValue(f"{doing(step)}: the firewall table is the host's", field="place", value=item.place)
    old = draft.get(item.key)
    if step.action == "delete":
        draft.put(item.key, None)
        return [] if old is None else [_delete(old)]
    if old == item:
        return []
    draft.put(item.key, item)
    if isinstance(item, Chain):
        return nft_json.add_chain(item) if old is None else nft_json.change_chain(item)
    gone = [] if old is None else [_delete(old)]
    return [*gone, nft_json.add_jump(item) if isinstance(item, Jump) else nft_json.add_element(nft_ports.element(item))]


def _delete(item: TableItem) -> Command:
    match item:
        case Chain():
            return nft_json.delete_chain(item.name)
        case Jump():
            return nft_json.delete_jump(item)
        case _:
            return nft_json.delete_element(nft_ports.element(item))
