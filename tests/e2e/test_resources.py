"""Resources of running pods: what the kernel was told, and how they change in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.covers import covers
from harness.daemon import Daemon, wait_until
from harness.pods import find_events
from podhost.linux import cgroup

RESTART = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]


def container(name: str, cpu: str, memory: str, **more: Any) -> dict[str, Any]:
    resources = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": cpu, "memory": memory}}
    return {"name": name, "image": "debian", "command": ["sleep", "inf"], "resources": resources, **more}


def pod_cgroup(daemon: Daemon, pod: dict[str, Any]) -> str:
    places = {"Guaranteed": "", "Burstable": "burstable/", "BestEffort": "besteffort/"}
    return f"/podhost/{daemon.instance}/{places[pod['status']['qosClass']]}pod{pod['metadata']['uid']}"


def has_shares(path: str, shares: int) -> bool:
    layout = cgroup.detect()
    directory = layout.directory("cpu", path)
    assert directory is not None
    if layout.version == 2:
        return (directory / "cpu.weight").read_text() == f"{cgroup.cpu_weight(shares)}\n"
    return (directory / "cpu.shares").read_text() == f"{shares}\n"


def read_limits(daemon: Daemon, pod: dict[str, Any], name: str) -> tuple[int, int]:
    """(quota in microseconds of 100 ms, memory in bytes) of a container; of the pod for an empty name."""
    path = pod_cgroup(daemon, pod)
    if name:
        (status,) = [s for s in pod["status"]["containerStatuses"] if s["name"] == name]
        path += "/" + status["containerID"].removeprefix("podhost://")
    layout = cgroup.detect()
    files = ("cpu.max", "memory.max") if layout.version == 2 else ("cpu.cfs_quota_us", "memory.limit_in_bytes")
    found = []
    for controller, file in zip(("cpu", "memory"), files, strict=True):
        directory = layout.directory(controller, path)
        assert isinstance(directory, Path)
        found.append(int((directory / file).read_text().split()[0]))
    return found[0], found[1]


def resize(daemon: Daemon, namespace: str, name: str, limits: dict[str, str], *, ok: bool = True) -> str:
    patch = {"spec": {"containers": [{"name": name, "resources": {"limits": limits}}]}}
    words = ("patch", "pod", "sized", "-n", namespace, "--subresource", "resize", "-p", json.dumps(patch))
    done = daemon.kubectl(*words, check=ok)
    return done.stdout + done.stderr


@covers("Container.resizePolicy", "ContainerResizePolicy.resourceName", "ContainerResizePolicy.restartPolicy")
def test_limits_change_in_place_or_by_a_restart_as_the_policy_says(daemon: Daemon, namespace: str) -> None:
    containers = [container("live", "200m", "64Mi"), container("again", "100m", "32Mi", resizePolicy=RESTART)]
    spec = {"terminationGracePeriodSeconds": 0, "containers": containers}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sized"}, "spec": spec}
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/sized", "--timeout=60s")
    pod = daemon.pod("sized", namespace)
    assert read_limits(daemon, pod, "live") == (20_000, 64 << 20)
    assert read_limits(daemon, pod, "") == (30_000, 96 << 20)

    resize(daemon, namespace, "live", {"cpu": "500m", "memory": "128Mi"})
    wait_until(
        lambda: any(reason == "ResizeCompleted" for _, reason, _ in find_events(daemon, namespace, "sized")),
        what="the end of the resize",
    )
    pod = daemon.pod("sized", namespace)
    assert read_limits(daemon, pod, "live") == (50_000, 128 << 20)
    assert read_limits(daemon, pod, "") == (60_000, 160 << 20)
    assert [s["restartCount"] for s in pod["status"]["containerStatuses"]] == [0, 0]

    resize(daemon, namespace, "again", {"memory": "48Mi"})
    wait_until(
        lambda: [s["restartCount"] for s in daemon.pod("sized", namespace)["status"]["containerStatuses"]] == [1, 0],
        what="the restart",
    )
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/sized", "--timeout=60s")
    pod = daemon.pod("sized", namespace)
    assert read_limits(daemon, pod, "again")[1] == 48 << 20
    shown = pod["status"]["containerStatuses"][0]["resources"]["limits"]["memory"]
    assert shown == "48Mi"

    assert "resource limits cannot be removed" in resize(daemon, namespace, "live", {"cpu": None}, ok=False)  # type: ignore[dict-item]
    daemon.kubectl("patch", "pod", "sized", "-n", namespace, "--subresource", "resize", "-p", json.dumps(
        {"spec": {"containers": [{"name": "live", "resources": {"requests": {"cpu": "900"}, "limits": {"cpu": "900"}}}]}}
    ))  # fmt: skip
    daemon.kubectl("wait", "-n", namespace, "--for=condition=PodResizePending", "pod/sized", "--timeout=30s")
    pending = [c for c in daemon.pod("sized", namespace)["status"]["conditions"] if c["type"] == "PodResizePending"]
    assert pending[0]["reason"] == "Infeasible"
    assert pending[0]["message"].startswith("Node didn't have enough capacity: cpu, requested: 900010, capacity: ")
    assert read_limits(daemon, pod, "live") == (50_000, 128 << 20)


@covers("PodSpec.resources")
def test_resources_of_the_whole_pod_bound_its_containers_together(daemon: Daemon, namespace: str) -> None:
    whole = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "300m", "memory": "96Mi"}}
    bare = {"name": "main", "image": "debian", "command": ["sleep", "inf"]}
    spec = {"terminationGracePeriodSeconds": 0, "resources": whole, "containers": [bare]}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "whole"}, "spec": spec}
    done = daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))
    assert "Warning" not in done.stderr
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/whole", "--timeout=60s")
    pod = daemon.pod("whole", namespace)
    assert pod["status"]["qosClass"] == "Burstable"
    assert pod["status"]["resources"] == whole
    assert read_limits(daemon, pod, "") == (30_000, 96 << 20)


def test_pods_share_the_processors_by_their_class(daemon: Daemon, namespace: str) -> None:
    """As a kubelet lays the cgroups: Guaranteed pods, and beside them all the others of a class together."""
    top = f"/podhost/{daemon.instance}"
    same = {"cpu": "100m", "memory": "32Mi"}
    resources = {"sure": {"requests": same, "limits": same}, "some": {"requests": {"cpu": "250m"}}, "none": {}}
    for name, amounts in resources.items():
        container = {"name": "c", "image": "debian", "command": ["sleep", "inf"], "resources": amounts}
        spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    pids = {}
    for name, shares in (("sure", 102), ("some", 256), ("none", 2)):
        pod = daemon.pod(name, namespace)
        path = pod_cgroup(daemon, pod)
        identity = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("podhost://")
        (pids[identity],) = cgroup.pids(f"{path}/{identity}")
        assert has_shares(path, shares)
        assert has_shares(f"{path}/{identity}", shares)
    assert has_shares(f"{top}/besteffort", 2)
    wait_until(lambda: has_shares(f"{top}/burstable", 256), what="the shares of all burstable pods")

    patch = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]}}
    daemon.kubectl("patch", "pod", "some", "-n", namespace, "--subresource", "resize", "-p", json.dumps(patch))
    wait_until(lambda: has_shares(f"{top}/burstable", 512), what="the shares after a resize")
    assert pids.items() <= daemon.container_pids().items(), "nothing moves or starts again"
    daemon.kubectl("delete", "pod", "some", "-n", namespace)
    wait_until(lambda: has_shares(f"{top}/burstable", 2), what="the shares of no pod")
