"""A pod's sysctls are those of its namespaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from podhost.linux.namespaces import pin_namespaces
from podhost.linux.sysctls import find_sysctl_namespace, normalize_sysctl


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("net.ipv4.ip_unprivileged_port_start", "net"),
        ("net/ipv4/conf/eth0.1/forwarding", "net"),
        ("kernel.shm_rmid_forced", "ipc"),
        ("kernel/shmmax", "ipc"),
        ("kernel.msgmax", "ipc"),
        ("kernel.sem", "ipc"),
        ("kernel.sem_next_id", None),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.core_pattern", None),
        ("kernel/core_pattern", None),
        ("kernel.hostname", None),
        ("vm.swappiness", None),
        ("fs.file-max", None),
        ("network", None),
    ],
)
def test_only_namespaced_sysctls_have_a_namespace(name: str, kind: str | None) -> None:
    assert find_sysctl_namespace(name) == kind


def test_the_first_separator_is_the_separator() -> None:
    assert normalize_sysctl("net/ipv4/conf/eth0.1/forwarding") == "net.ipv4.conf.eth0/1.forwarding"
    assert normalize_sysctl("net.ipv4.conf.eth0/1.forwarding") == "net.ipv4.conf.eth0/1.forwarding"


@pytest.mark.parametrize(
    ("kinds", "name"),
    [({"net", "ipc", "uts"}, "kernel.core_pattern"), ({"ipc"}, "net.ipv4.ip_forward"), ({"net"}, "kernel.shmmax")],
)
def test_namespaces_are_not_made_with_a_sysctl_of_the_host(tmp_path: Path, kinds: set[str], name: str) -> None:
    with pytest.raises(ValueError, match="would change the host's"):
        pin_namespaces(tmp_path / "ns", frozenset(kinds), sysctls={name: "1"})
    assert not (tmp_path / "ns").exists()
