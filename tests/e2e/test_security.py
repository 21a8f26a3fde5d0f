"""Security contexts of real containers."""

from __future__ import annotations

from harness.daemon import Daemon
from harness.pods import build_pod, wait_for_event


def test_who_a_container_runs_as_is_what_was_asked_for_and_shown(daemon: Daemon, namespace: str) -> None:
    context = {
        "runAsUser": 1234,
        "runAsGroup": 55,
        "fsGroup": 77,
        "supplementalGroups": [66],
        "supplementalGroupsPolicy": "Strict",
    }
    manifest = build_pod("somebody", "debian", "sleep", "infinity", securityContext=context)
    done = daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)
    assert "Warning" not in done.stderr
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/somebody", "--timeout=60s")
    inside = daemon.kubectl("exec", "-n", namespace, "somebody", "--", "sh", "-c", "id -u; id -g; id -G").stdout
    assert inside.split("\n")[:3] == ["1234", "55", "55 66 77"]
    (status,) = daemon.pod("somebody", namespace)["status"]["containerStatuses"]
    assert status["user"] == {"linux": {"uid": 1234, "gid": 55, "supplementalGroups": [55, 66, 77]}}


def test_a_sysctl_that_is_not_safe_rejects_the_pod(daemon: Daemon, namespace: str) -> None:
    context = {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}
    manifest = build_pod("unsafe", "debian", "sleep", "infinity", securityContext=context)
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)
    text = 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted'
    assert wait_for_event(daemon, namespace, "unsafe", "SysctlForbidden", text)
    status = daemon.pod("unsafe", namespace)["status"]
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "SysctlForbidden", text)
