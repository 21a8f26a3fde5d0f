"""Which sysctls a pod may set, in the kubelet's words; and what is said where limits have no effect."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from harness.kubelet_rig import make_pod
from podhost.api import models
from podhost.kubelet.field_events import compute_limit_messages
from podhost.kubelet.sysctls import find_forbidden_sysctl


def find(name: str, *allowed: str, **spec: Any) -> str | None:
    pod = make_pod(securityContext={"sysctls": [{"name": name, "value": "1"}]}, **spec)
    return find_forbidden_sysctl(msgspec.convert(pod, models.Pod), allowed)


@pytest.mark.parametrize(
    ("name", "allowed", "spec", "verdict"),
    [
        ("net.ipv4.tcp_syncookies", (), {}, None),
        ("net/ipv4/tcp_syncookies", (), {}, None),
        ("kernel.shm_rmid_forced", (), {}, None),
        ("kernel.msgmax", (), {}, '"kernel.msgmax" not allowlisted'),
        ("kernel.msgmax", ("kernel.msg*",), {}, None),
        ("kernel/msgmax", ("kernel/msgmax",), {}, None),
        ("kernel.msgmax", ("kernel.msgmn*", "kernel.msgma"), {}, '"kernel.msgmax" not allowlisted'),
        ("kernel.core_pattern", ("kernel.*", "kernel.core_pattern"), {}, '"kernel.core_pattern" not allowlisted'),
        (
            "net.ipv4.tcp_syncookies",
            (),
            {"hostNetwork": True},
            '"net.ipv4.tcp_syncookies" not allowed with host Net enabled',
        ),
        ("kernel.sem", ("kernel.sem",), {"hostIPC": True}, '"kernel.sem" not allowed with host IPC enabled'),
    ],
)
def test_safe_ones_and_those_that_the_instance_allows(
    name: str, allowed: tuple[str, ...], spec: dict[str, Any], verdict: str | None
) -> None:
    assert find(name, *allowed, **spec) == (verdict and f"forbidden sysctl: {verdict}")


def test_limits_without_effect_are_told_once_a_controller() -> None:
    limits = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1"}}
    spec = {"containers": [{"name": "a", "resources": limits}, {"name": "b"}], "resources": {"limits": {"cpu": "2"}}}
    assert compute_limit_messages(spec, {"cpu", "pids"}) == [
        "spec.resources.limits.cpu, spec.containers[0].resources.limits.cpu: "
        "not enforced: this host does not delegate the cgroup controller cpu"
    ]
    assert compute_limit_messages(spec, ()) == []
