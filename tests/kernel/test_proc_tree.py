"""Settings, written and read through an instance of /proc of the helper's own, as often as it takes to renew it, and without one."""

from __future__ import annotations

import os

import pytest

from drivers.objects import HOST, Sysctl
from helperd.kernel import proc_tree, sysctl
from helperd.kernel.namespaces import NamespaceThread, identify
from tests.kernel.live_host import sh
from tests.simulated_host import SimulatedHost

NAME = "net.ipv6.conf.*.accept_ra"


@pytest.mark.parametrize("refused", [False, True])
def test_each_namespace_gets_its_own(host: SimulatedHost, monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    def scenario() -> None:
        if refused:
            monkeypatch.setattr(proc_tree, "_FSOPEN", -1)
        names = [f"n{number}" for number in range(6)]
        for name in names:
            sh(f"ip netns add {name}")
        thread = NamespaceThread("settings")
        places = [identify(f"/run/netns/{name}") for name in names]

        def write(value: int) -> None:
            sysctl.write(Sysctl(HOST, NAME, str(value), "lo"))

        def read() -> str | None:
            return sysctl.read(Sysctl(HOST, NAME, "", "lo"))

        before = len(os.listdir("/proc/self/fd"))
        for turn in range(2 * proc_tree.USES // len(names)):
            for number, place in enumerate(places):
                thread.run(place, lambda value=(turn + number) % 3: write(value))  # type: ignore[misc]
        assert [thread.run(place, read) for place in places] == [str((turn + number) % 3) for number in range(len(names))]
        assert thread.run(None, read) == "1"
        assert len(os.listdir("/proc/self/fd")) <= before + 2  # the tree, and the thread's hold of its home
        with pytest.raises(OSError):
            thread.run(places[0], lambda: sysctl.write(Sysctl(HOST, NAME, "0", "nosuch")))
        assert thread.run(places[0], lambda: sysctl.read(Sysctl(HOST, NAME, "", "nosuch"))) is None
        thread.close()

    host.call(scenario)
