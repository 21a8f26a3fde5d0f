"""A node that runs short of disk, inodes, memory, process ids: who is evicted, who is kept out, and that it ends."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.daemon import Daemon, running_daemon
from harness.pods import build_pod, find_events, wait_for_event

_MIB = 1 << 20
_VOLUME = {"volumes": [{"name": "v", "emptyDir": {}}]}
_QUICK = ("--housekeeping-interval", "0.5", "--eviction-pressure-transition-period", "1s")


@pytest.fixture(scope="module")
def daemon(image_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Its data is on a small disk of its own."""
    disk = tmp_path_factory.mktemp("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m,nr_inodes=4000", "podhost-test", str(disk)], check=True)
    try:
        with running_daemon(
            image_store, "--data-root", str(disk), *_QUICK, "--eviction-hard", "nodefs.available<50%"
        ) as running:
            yield running
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def build_writer(name: str, mebibytes: int, **spec: Any) -> str:
    script = f"head -c {mebibytes}M /dev/zero > /v/file; touch /v/done; exec sleep inf"
    document = json.loads(build_pod(name, "debian", "sh", "-c", script, **_VOLUME, **spec))
    document["spec"]["containers"][0] |= {
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "readinessProbe": {"exec": {"command": ["test", "-e", "/v/done"]}, "periodSeconds": 1},
    }
    return json.dumps(document)


def create(daemon: Daemon, namespace: str, manifest: str) -> None:
    daemon.kubectl("-n", namespace, "create", "-f", "-", stdin=manifest)


def wait_evicted(daemon: Daemon, namespace: str, name: str) -> dict[str, Any]:
    words = ("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Failed", "--timeout=60s")
    daemon.kubectl("-n", namespace, *words)
    status: dict[str, Any] = daemon.pod(name, namespace)["status"]
    assert status["reason"] == "Evicted"
    return status


def eviction_place(daemon: Daemon, namespace: str, name: str) -> int:
    (event,) = [
        each
        for each in daemon.get(f"/api/v1/namespaces/{namespace}/events")["items"]
        if each["involvedObject"]["name"] == name and each["reason"] == "Evicted"
    ]
    return int(event["metadata"]["resourceVersion"])


def read_node(daemon: Daemon) -> tuple[dict[str, str], list[str], str]:
    (node,) = daemon.get("/api/v1/nodes")["items"]
    conditions = {each["type"]: each["status"] for each in node["status"]["conditions"]}
    return conditions, [each["key"] for each in node["spec"].get("taints", [])], node["metadata"]["name"]


def test_full_disk_costs_the_largest_writers_first_and_keeps_others_out_until_it_is_free(
    daemon: Daemon, namespace: str
) -> None:
    create(daemon, namespace, build_writer("large", 20))
    create(daemon, namespace, build_writer("small", 2))
    daemon.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/large", "pod/small", "--timeout=60s")
    ballast = Path(daemon.extra_flags[1]) / "ballast"
    ballast.write_bytes(bytes(70 * _MIB))
    message = wait_evicted(daemon, namespace, "large")["message"]
    assert message.startswith("The node was low on resource: ephemeral-storage. Threshold quantity: 64Mi, available: ")
    small = wait_evicted(daemon, namespace, "small")
    assert [each["reason"] for each in small["conditions"] if each["type"] == "DisruptionTarget"] == [
        "TerminationByKubelet"
    ]
    assert eviction_place(daemon, namespace, "large") < eviction_place(daemon, namespace, "small")

    conditions, taints, node = read_node(daemon)
    assert (conditions["DiskPressure"], conditions["MemoryPressure"], conditions["Ready"]) == ("True", "False", "True")
    assert taints == ["node.kubernetes.io/disk-pressure"]
    create(daemon, namespace, build_writer("late", 1))
    refused = wait_for_event(daemon, namespace, "late", "FailedScheduling")
    assert refused.startswith("0/1 nodes are available: 1 node(s) had untolerated taint(s)")
    create(daemon, namespace, build_pod("forced", "debian", "sleep", "inf", nodeName=node))
    rejected = wait_evicted(daemon, namespace, "forced")
    assert rejected["message"] == "Pod was rejected: The node had condition: [DiskPressure]. "

    ballast.unlink()
    daemon.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/late", "--timeout=60s")
    assert read_node(daemon)[0]["DiskPressure"] == "False"
    reasons = [reason for _, reason, _ in find_events(daemon, "default", node)]
    assert {"EvictionThresholdMet", "NodeHasDiskPressure", "NodeHasNoDiskPressure"} <= set(reasons)


def restart(daemon: Daemon, *flags: str) -> None:
    """Pods go on; only the thresholds are others."""
    daemon.terminate()
    daemon.extra_flags = (*daemon.extra_flags[: 2 + len(_QUICK)], *flags)
    daemon.start()


def test_many_files_cost_their_pod_when_inodes_get_scarce(daemon: Daemon, namespace: str) -> None:
    restart(daemon, "--eviction-hard", "nodefs.inodesFree<50%", "--eviction-minimum-reclaim", "nodefs.inodesFree=100")
    script = "until [ -e /go ]; do sleep 0.1; done; mkdir /v/d; seq -f /v/d/%g 2500 | xargs touch; exec sleep inf"
    document = json.loads(build_pod("files", "debian", "sh", "-c", script, **_VOLUME))
    document["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/v"}]
    create(daemon, namespace, json.dumps(document))
    create(daemon, namespace, build_writer("bytes", 5))
    daemon.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/files", "pod/bytes", "--timeout=60s")
    daemon.kubectl("-n", namespace, "exec", "files", "--", "touch", "/go")
    message = wait_evicted(daemon, namespace, "files")["message"]
    assert message.startswith("The node was low on resource: inodes. Threshold quantity: 2000, available: ")
    assert daemon.pod("bytes", namespace)["status"]["phase"] == "Running"
    (event,) = [
        each
        for each in daemon.get(f"/api/v1/namespaces/{namespace}/events")["items"]
        if each["involvedObject"]["name"] == "files" and each["reason"] == "Evicted"
    ]
    assert event["metadata"]["annotations"] == {
        "offending_containers": "", "offending_containers_usage": "", "starved_resource": "inodes"
    }  # fmt: skip


def test_soft_and_hard_thresholds_evict_pods_that_run_with_the_kubelets_words(daemon: Daemon, namespace: str) -> None:
    """Thresholds that no machine is above: first of memory, with a grace period, then of process ids."""
    restart(daemon, "--eviction-hard", "")
    script = "trap 'sleep 2; exit 0' TERM; touch /tmp/ready; while :; do sleep 0.1; done"
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    document = json.loads(build_pod("soft", "debian", "sh", "-c", script, terminationGracePeriodSeconds=60))
    document["spec"]["containers"][0]["readinessProbe"] = probe
    create(daemon, namespace, json.dumps(document))
    create(daemon, namespace, build_pod("vital", "debian", "sleep", "inf", priorityClassName="system-node-critical"))
    daemon.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/soft", "pod/vital", "--timeout=60s")
    grace = ("--eviction-soft-grace-period", "memory.available=1s", "--eviction-max-pod-grace-period", "30")
    restart(daemon, "--eviction-soft", "memory.available<100Ti", *grace)
    status = wait_evicted(daemon, namespace, "soft")
    message = status["message"]
    assert message.startswith("The node was low on resource: memory. Threshold quantity: 100Ti, available: ")
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0, "it had no time to end by itself"
    assert read_node(daemon)[0]["MemoryPressure"] == "True"
    assert read_node(daemon)[1] == ["node.kubernetes.io/memory-pressure"]
    assert daemon.pod("vital", namespace)["status"]["phase"] == "Running"

    restart(daemon, "--eviction-hard", "")
    create(daemon, namespace, build_pod("pids", "debian", "sleep", "inf"))
    daemon.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/pids", "--timeout=60s")
    restart(daemon, "--eviction-hard", "pid.available<1G")
    message = wait_evicted(daemon, namespace, "pids")["message"]
    assert message.startswith("The node was low on resource: pids. Threshold quantity: 1G, available: ")
    assert read_node(daemon)[0]["PIDPressure"] == "True"
    assert read_node(daemon)[1] == ["node.kubernetes.io/pid-pressure"]
