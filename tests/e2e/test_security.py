"""Security contexts of real containers."""

from __future__ import annotations

from pathlib import Path

from harness.covers import covers
from harness.daemon import Daemon
from harness.pods import build_pod, wait_for_event, wait_for_waiting


@covers(
    "PodSecurityContext.fsGroup", "PodSecurityContext.runAsGroup", "PodSecurityContext.runAsUser",
    "PodSecurityContext.supplementalGroups", "PodSecurityContext.supplementalGroupsPolicy",
    "PodSpec.securityContext",
)  # fmt: skip
def test_who_a_container_runs_as_is_what_was_asked_for_and_shown(daemon: Daemon, namespace: str) -> None:
    context = {
        "runAsUser": 1234,
        "runAsGroup": 55,
        "fsGroup": 77,
        "supplementalGroups": [66],
        "supplementalGroupsPolicy": "Strict",
        # One that is safe, and one that is not and that the daemon's flag allows.
        "sysctls": [
            {"name": "net.ipv4.ip_unprivileged_port_start", "value": "81"},
            {"name": "net/core/somaxconn", "value": "321"},
        ],
    }
    manifest = build_pod("somebody", "debian", "sleep", "infinity", securityContext=context)
    done = daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)
    assert "Warning" not in done.stderr
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/somebody", "--timeout=60s")
    inside = daemon.kubectl("exec", "-n", namespace, "somebody", "--", "sh", "-c", "id -u; id -g; id -G").stdout
    assert inside.split("\n")[:3] == ["1234", "55", "55 66 77"]
    read = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/core/somaxconn"
    assert daemon.kubectl("exec", "-n", namespace, "somebody", "--", "sh", "-c", read).stdout.split() == ["81", "321"]
    (status,) = daemon.pod("somebody", namespace)["status"]["containerStatuses"]
    assert status["user"] == {"linux": {"uid": 1234, "gid": 55, "supplementalGroups": [55, 66, 77]}}


def test_a_sysctl_that_is_not_safe_rejects_the_pod(daemon: Daemon, namespace: str) -> None:
    context = {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}
    manifest = build_pod("unsafe", "debian", "sleep", "infinity", securityContext=context)
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)
    text = 'forbidden sysctl: "kernel.msgmax" not allowlisted'
    assert wait_for_event(daemon, namespace, "unsafe", "SysctlForbidden", text)
    status = daemon.pod("unsafe", namespace)["status"]
    assert (status["phase"], status["reason"], status["message"]) == (
        "Failed",
        "SysctlForbidden",
        f"Pod was rejected: {text}",
    )


MAPPED = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {key: value}
---
apiVersion: v1
kind: Pod
metadata: {name: mapped}
spec:
  hostUsers: false
  shareProcessNamespace: true
  terminationGracePeriodSeconds: 0
  securityContext: {sysctls: [{name: kernel.shm_rmid_forced, value: "1"}]}
  containers:
  - name: c
    image: debian
    command: [sh, -c, "touch /root/made /work/made && exec sleep infinity"]
    securityContext: {procMount: Unmasked}
    volumeMounts: [{name: work, mountPath: /work}, {name: settings, mountPath: /settings}]
  volumes:
  - {name: work, emptyDir: {}}
  - {name: settings, configMap: {name: settings, defaultMode: 0400}}
"""


@covers("PodSpec.hostUsers", "SecurityContext.procMount")
def test_root_of_a_pod_with_a_user_namespace_is_nobody_on_the_host(daemon: Daemon, namespace: str) -> None:
    done = daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=MAPPED)
    assert "Warning" not in done.stderr
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/mapped", "--timeout=60s")

    def run(script: str) -> list[str]:
        return daemon.kubectl("exec", "-n", namespace, "mapped", "--", "sh", "-c", script).stdout.split()

    assert run("id -u; cat /settings/key; echo; stat -c %u /root/made /work/made /bin/ls /dev/shm /proc/1") == [
        "0", "value", "0", "0", "0", "0", "0",
    ]  # fmt: skip
    assert run("cat /proc/sys/kernel/shm_rmid_forced; hostname") == ["1", "mapped"]
    assert run("grep -c ' /proc/keys ' /proc/self/mounts || true") == ["0"]
    inside, outside, count = run("cat /proc/self/uid_map")
    assert (inside, count) == ("0", "65536")
    assert int(outside) >= 65536
    identity = daemon.pod("mapped", namespace)["status"]["containerStatuses"][0]["containerID"]
    pid = daemon.container_pids()[identity.removeprefix("podhost://")]
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("Uid:")]
    assert line.split()[1] == outside
    assert Path("/dev/null").stat().st_uid != int(outside), "what crun did to its standard files is mended"
    (made,) = daemon.data_root.glob("*/pods/*/volumes/kubernetes.io~empty-dir/work/made")
    assert made.stat().st_uid == 0, "volumes keep the pod's own ids"
    daemon.kubectl("delete", "pod", "mapped", "-n", namespace, "--timeout=30s")

    beyond = build_pod("beyond", "debian", "true", hostUsers=False, securityContext={"runAsUser": 70000})
    daemon.kubectl("create", "-n", namespace, "-f", "-", stdin=beyond)
    said = wait_for_waiting(daemon, namespace, "beyond", "CreateContainerConfigError", "c")
    assert said.startswith("spec.securityContext.runAsUser: Invalid value: 70000: must be between 0 and 65535")
