"""A user with the role `operate` can't fill the host with processes of root's."""

from __future__ import annotations

from pathlib import Path

import pytest

import helperd.runs as runs
from helperd.changes import CallContext
from protocol.errors import TooMuch
from protocol.requests import ContainerExec, ContainerRemove, ContainerRun
from tests.kernel.core_in_host import STREAM, core_in
from tests.simulated_host import SimulatedHost

USER, OTHER = 4242, 4243


@pytest.mark.req("W3")
def test_so_many_containers_and_commands_a_user(host: SimulatedHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MAX_OF_USER", 2)

    async def scenario() -> None:
        async with core_in(tmp_path) as core:
            async def start(uid: int, name: str) -> None:
                request = ContainerRun(command=("sleep", "60"), name=name, networks=("none",), detach=True)
                await core.runs.run(request, CallContext(uid=uid, gid=uid), STREAM)

            for name in ("a", "b"):
                await start(USER, name)
            mine = CallContext(uid=USER, gid=USER)
            with pytest.raises(TooMuch, match="2 containers and commands of yours run"):
                await start(USER, "c")
            with pytest.raises(TooMuch):
                await core.runs.execute(ContainerExec(container="a", command=("true",)), mine, STREAM)
            assert core.records.container("c") is None
            await start(OTHER, "d")
            for name in ("e", "f", "g"):
                await start(0, name)
            await core.runs.remove(ContainerRemove(name="b", force=True), mine, STREAM)
            for _ in range(3):  # what has ended counts no more
                done = await core.runs.execute(ContainerExec(container="a", command=("true",)), mine, STREAM)
                assert done == {"exit_code": 0}
            await start(USER, "c")
            for name in "acdefg":
                await core.runs.remove(ContainerRemove(name=name, force=True), CallContext(), STREAM)

    host.call(scenario)
