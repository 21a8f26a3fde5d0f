"""Pods that try to get at the host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.covers import covers
from harness.daemon import Daemon, running_daemon
from harness.pods import build_pod, wait_for_event


@pytest.fixture(scope="module")
def daemon(image_store: Path) -> Iterator[Daemon]:
    with running_daemon(image_store) as running:
        yield running


@pytest.mark.parametrize("name", ["kernel.core_pattern", "kernel/core_pattern"])
def test_a_pod_cannot_set_the_hosts_sysctls(daemon: Daemon, name: str) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern")
    before = pattern.read_text()
    pod = "sysctl-" + name.replace("/", "-").replace("_", "-")
    context = {"sysctls": [{"name": name, "value": "|/bin/podhost-test"}]}
    try:
        daemon.apply(build_pod(pod, "debian", "sleep", "infinity", securityContext=context))
        assert wait_for_event(daemon, "default", pod, "SysctlForbidden", "not allowlisted")
        status = daemon.pod(pod)["status"]
        assert (status["phase"], status["reason"]) == ("Failed", "SysctlForbidden")
        assert pattern.read_text() == before
    finally:
        pattern.write_text(before)


@covers("PodSecurityContext.sysctls", "Sysctl.name", "Sysctl.value")
def test_a_pod_may_set_those_of_its_own_namespaces(daemon: Daemon) -> None:
    sysctls = [
        {"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"},
        {"name": "kernel.shm_rmid_forced", "value": "1"},
    ]
    daemon.apply(build_pod("own-sysctl", "debian", "sleep", "infinity", securityContext={"sysctls": sysctls}))
    daemon.wait("pod/own-sysctl", "condition=Ready", timeout_s=20)
    read = ["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/shm_rmid_forced"]
    assert daemon.kubectl("exec", "own-sysctl", "--", *read).stdout.split() == ["80", "1"]


def test_annotations_of_a_pod_never_reach_the_runtime(daemon: Daemon) -> None:
    daemon.apply(
        """
        apiVersion: v1
        kind: Pod
        metadata:
          name: annotated
          annotations: {run.oci.handler: wasm, run.oci.seccomp_bpf_data: AAAA, run.oci.keep_original_groups: "1"}
        spec:
          terminationGracePeriodSeconds: 0
          containers: [{name: c, image: debian, command: [sleep, infinity]}]
        """
    )
    daemon.wait("pod/annotated", "condition=Ready", timeout_s=20)
    lines = daemon.kubectl("exec", "annotated", "--", "cat", "/proc/1/status").stdout.splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["Seccomp"] == "2"
    assert status["CapBnd"] == "00000000a80425fb"  # Docker's default
    fds = daemon.kubectl("exec", "annotated", "--", "ls", "/proc/1/fd").stdout.split()
    assert fds == ["0", "1", "2"]
