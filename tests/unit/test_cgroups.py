"""Control groups to runtimes: the paths that the runtimes make, those that only look like it, and any text at all."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helperd.cgroups import Identity, identify

A, B = "a" * 64, "0123456789abcdef" * 4
POD = "3d6d5a0e-1b1c-4c5e-8f5e-0123456789ab"
SYSTEMD_POD = POD.replace("-", "_")

pytestmark = pytest.mark.req("X10")


@pytest.mark.parametrize(
    ("path", "runtime", "name", "ident"),
    [
        (f"/docker/{A}", "docker", "", A),
        (f"/system.slice/docker-{A}.scope", "docker", "", A),
        (f"/system.slice/docker-{A}.scope/init.scope", "docker", "", A),
        (f"/system.slice/docker-{A}.scope/system.slice/nginx.service", "docker", "", A),
        (f"/docker/{A}/docker/{B}", "docker", "", B),
        (f"/machine.slice/libpod-{A}.scope", "podman", "", A),
        (f"/machine.slice/libpod-{A}.scope/container", "podman", "", A),
        (f"/libpod_parent/libpod-{A}", "podman", "", A),
        (f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope", "podman", "", A),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container", "podman", "", A),
        (f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SYSTEMD_POD}.slice/cri-containerd-{A}.scope",
         "kubernetes", POD, A),
        (f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SYSTEMD_POD}.slice/crio-{A}.scope",
         "kubernetes", POD, A),
        (f"/kubepods/besteffort/pod{POD}/{A}", "kubernetes", POD, A),
        (f"/kubepods/pod{POD}/{A}", "kubernetes", POD, A),
        (f"/kubepods.slice/kubepods-pod{SYSTEMD_POD}.slice/docker-{A}.scope", "kubernetes", POD, A),
        (f"/docker/{B}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{SYSTEMD_POD}.slice/cri-containerd-{A}.scope",
         "kubernetes", POD, A),
        (f"/system.slice/cri-containerd-{A}.scope", "containerd", "", A),
        (f"/default/{A}", "containerd", "", A),
        (f"/system.slice/nerdctl-{A}.scope", "containerd", "", A),
        ("/lxc.payload.web/init.scope", "lxc", "web", ""),
        ("/lxc.payload.web/system.slice/ssh.service", "lxc", "web", ""),
        ("/lxc/old", "lxc", "old", ""),
        (f"/lxc.payload.web/docker/{A}", "docker", "", A),
        ("/machine.slice/systemd-nspawn@deb.service/payload", "nspawn", "deb", ""),
        ("/machine.slice/machine-deb.scope/payload/init.scope", "nspawn", "deb", ""),
        ("/machine.slice/machine-my\\x2dbox.scope", "nspawn", "my-box", ""),
        ("/system.slice/named.service", "systemd", "named.service", ""),
        ("/system.slice/system-getty.slice/getty@tty1.service", "systemd", "getty@tty1.service", ""),
    ],
)  # fmt: skip
def test_what_a_runtime_makes_is_known(path: str, runtime: str, name: str, ident: str) -> None:
    assert identify(f"0::{path}\n") == Identity(runtime, name, ident, path)
    # cgroups version 1, and both at once
    assert identify(f"4:memory:/elsewhere\n3:pids:{path}\n1:name=systemd:{path}\n0::/\n") == Identity(runtime, name, ident, path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        f"/machine.slice/libpod-conmon-{A}.scope",
        f"/crio-conmon-{A}.scope",
        "/lxc.monitor.web",
        "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
        f"/docker/{A[:63]}",
        f"/docker/{A}0",
        f"/docker/{'A' * 64}",
        f"/something/{A}",
        f"/xdocker-{A}.scope",
        f"/docker-{A}.scope\u0661",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope",
        "/user.slice/user-1000.slice/session-3.scope",
        "/system.slice/named.service/child",
        "/init.scope",
        "/docker",
    ],
)
def test_what_only_looks_like_it_stays_unknown(path: str) -> None:
    assert identify(f"0::{path}\n").runtime == ""


def test_the_unified_hierarchy_comes_first() -> None:
    assert identify(f"2:pids:/docker/{B}\n1:name=systemd:/docker/{B}\n0::/docker/{A}\n").id == A
    assert identify(f"2:pids:/x\n1:name=systemd:/docker/{B}\n0::/\n").id == B


_PARTS = st.one_of(
    st.sampled_from([A, B, "docker", f"docker-{A}.scope", f"libpod-{B}.scope", "kubepods", f"pod{POD}", "lxc.payload.x", "lxc",
                     "machine-x.scope", "a.service", "..", "", "\\x2f", "\\x00", "\\x2d", "\x1b[31m"]),
    st.text(max_size=12),
)  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["0", "1", "12", "x"]),
            st.sampled_from(["", "pids", "name=systemd", "cpu,cpuacct"]),
            st.lists(_PARTS, max_size=8).map("/".join),
        ),
        max_size=6,
    )
)
def test_any_control_groups_give_an_answer(lines: list[tuple[str, str, str]]) -> None:
    found = identify("\n".join(":".join(line) for line in lines))
    assert found.runtime in ("", "docker", "podman", "containerd", "kubernetes", "lxc", "nspawn", "systemd")
    assert found.id == "" or (len(found.id) == 64 and set(found.id) <= set("0123456789abcdef"))
    assert "/" not in found.name
    if found.runtime in ("docker", "podman", "containerd", "kubernetes"):
        assert found.id
    if found.runtime in ("lxc", "nspawn", "systemd", "kubernetes"):
        assert found.name


@given(st.text())
@example("0::" + "/" * 100_000)
@example("\\x" * 50_000)
@example(":" * 70_000)
def test_any_text_gives_an_answer(text: str) -> None:
    identify(text)
