"""The texts of a container's /etc/hosts, /etc/hostname and /etc/resolv.conf, and that a file keeps its inode."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helperd.containers import etc_files


def test_hosts() -> None:
    assert etc_files.hosts("web", ["172.18.0.2/16", "fd00::2/64"], {"172.18.0.3": ["db", "db.lan"]}) == (
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::\tip6-localnet\n"
        "ff00::\tip6-mcastprefix\n"
        "ff02::1\tip6-allnodes\n"
        "ff02::2\tip6-allrouters\n"
        "172.18.0.2\tweb\n"
        "fd00::2\tweb\n"
        "172.18.0.3\tdb db.lan\n"
    )
    assert etc_files.hosts("web", ["10.0.0.2"], ipv6=False) == "127.0.0.1\tlocalhost\n10.0.0.2\tweb\n"
    with pytest.raises(ValueError, match="does not appear to be"):
        etc_files.hosts("web", ["10.0.0.2\n6.6.6.6 bank"])


@given(st.text(), st.lists(st.text(), max_size=4))
def test_names_cannot_add_lines_to_hosts(name: str, others: list[str]) -> None:
    text = etc_files.hosts(name, ["10.0.0.2"], {"10.0.0.3": others})
    for line in text.splitlines():
        address, _, names = line.partition("\t")
        ipaddress.ip_address(address)
        assert names
        if address.startswith("10."):
            assert set(names.split(" ")) <= {name, *others}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("nameserver 1.1.1.1\n", "nameserver 1.1.1.1\n"),
        ("nameserver 127.0.0.53\nnameserver 1.1.1.1\n", "nameserver 1.1.1.1\n"),
        ("nameserver 127.0.0.53\n", "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
        ("", "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
        ("nameserver ::1\nnameserver 2001:db8::1\n", "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
        ("nameserver\t1.1.1.1\n# nameserver 2.2.2.2\n;x\n", "nameserver 1.1.1.1\n"),
        ("nameserver nonsense\nnameserver 0.0.0.0\nnameserver 1.1.1.1\n", "nameserver 1.1.1.1\n"),
        ("domain a.b\nsearch c.d e.f\nnameserver 1.1.1.1\n", "nameserver 1.1.1.1\nsearch c.d e.f\n"),
        ("search .\nnameserver 1.1.1.1\n", "nameserver 1.1.1.1\n"),
        ("nameserver 1.1.1.1\noptions ndots:2 edns0\n", "nameserver 1.1.1.1\noptions ndots:2 edns0\n"),
    ],
)
def test_resolv_conf_without_ipv6(host: str, expected: str) -> None:
    assert etc_files.resolv_conf(host, ipv6=False) == expected


def test_resolv_conf_with_ipv6() -> None:
    host = "nameserver ::1\nnameserver 2001:db8::1\nnameserver fe80::1%eth0\n"
    assert etc_files.resolv_conf(host) == "nameserver 2001:db8::1\n"
    assert etc_files.resolv_conf("") == (
        "nameserver 8.8.8.8\nnameserver 8.8.4.4\nnameserver 2001:4860:4860::8888\nnameserver 2001:4860:4860::8844\n"
    )


def test_what_is_given_replaces_what_the_host_has() -> None:
    host = "nameserver 1.1.1.1\nsearch lan\noptions rotate\n"
    assert etc_files.resolv_conf(host, ["127.0.0.11"], ["x.y"], ["ndots:0"]) == ("nameserver 127.0.0.11\nsearch x.y\noptions ndots:0\n")


@given(st.text())
def test_any_host_file_gives_servers(text: str) -> None:
    lines = etc_files.resolv_conf(text).splitlines()
    servers = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    assert servers
    assert not any(ipaddress.ip_address(server).is_loopback for server in servers)


def test_a_file_is_rewritten_in_place(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    etc_files.write_in_place(str(path), "long text\n" * 10)
    inode = path.stat().st_ino
    etc_files.write_in_place(str(path), "short\n")
    assert (path.stat().st_ino, path.read_text(), path.stat().st_mode & 0o777) == (inode, "short\n", 0o644)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="symbolic"):
        etc_files.write_in_place(str(tmp_path / "link"), "x")


@pytest.mark.req("B4")
def test_resolv_conf_of_a_container_with_names() -> None:
    host = "nameserver 1.1.1.1\nsearch lan\noptions rotate ndots:3\n"
    assert etc_files.resolv_conf_of_names(host, "127.0.0.11") == "nameserver 127.0.0.11\nsearch lan\noptions rotate ndots:0\n"
    assert etc_files.resolv_conf_of_names("", "127.0.0.11") == "nameserver 127.0.0.11\noptions ndots:0\n"
    given = etc_files.resolv_conf_of_names(host, "127.0.0.11", ["x.y"], ["ndots:2"])
    assert given == "nameserver 127.0.0.11\nsearch x.y\noptions ndots:2\n"
