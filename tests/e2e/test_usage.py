"""What pods use: ``kubectl top`` and ``podhost top`` on containers whose hunger is known."""

from __future__ import annotations

import json
from fractions import Fraction

from harness.daemon import Daemon
from podhost.api.quantity import parse_quantity

_KEEP = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); echo full; read y"
_SPIN = "while :; do :; done"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "hungry", "labels": {"app": "hungry"}},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "spin",
                "image": "debian",
                "command": ["bash", "-c", _SPIN],
                "resources": {"limits": {"cpu": "100m"}},
            },
            {"name": "keep", "image": "debian", "stdin": True, "command": ["bash", "-c", _KEEP]},
        ],
    },
}


def test_usage_is_seen_by_kubectl_top_and_by_podhost_top(daemon: Daemon, namespace: str) -> None:
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(POD))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/hungry", "--timeout=60s")
    stats = daemon.get(f"/apis/podhost.dev/v1alpha1/namespaces/{namespace}/podstats/hungry")
    spin, keep = stats["containers"]
    # Never above its limit, however busy the machine; bursts within one period of 100 ms aside.
    assert 0 < parse_quantity(spin["usage"]["cpu"]) < Fraction(2, 10)
    assert keep["pids"] >= 1
    assert set(keep["memory"]) >= {"workingSetBytes", "rssBytes", "usageBytes"}

    def top(*argv: str) -> list[list[str]]:
        return [line.split() for line in daemon.kubectl("top", *argv, "--no-headers").stdout.splitlines()]

    by_container = {line[1]: line[2:] for line in top("pod", "-n", namespace, "--containers", "-l", "app=hungry")}
    assert set(by_container) == {"spin", "keep"}
    assert top("pod", "-n", namespace, "-l", "app=nothing") == []
    (pod,) = top("pod", "hungry", "-n", namespace)
    assert pod[0] == "hungry"
    (node,) = top("node")
    assert node[2].endswith("%")
    table = daemon.kubectl("get", "podstats,pods.metrics.k8s.io", "-n", namespace).stdout
    assert table.split()[:7] == ["NAME", "CPU", "MEMORY", "READ", "WRITTEN", "PIDS", "WINDOW"]
    assert table.count("hungry") == 2
    assert "working set" in daemon.kubectl("explain", "podmetrics.containers.usage").stdout
    assert "NodeMetrics" in daemon.kubectl("explain", "nodemetrics").stdout

    screen = daemon.podhost("-n", namespace, "top", "hungry", "--containers").stdout.splitlines()
    assert screen[0].split()[:2] == ["POD", "CPU"]
    assert sorted(line.split()[0] for line in screen[1:]) == ["hungry", "keep", "spin"]
    assert "\x1b" not in "".join(screen)
    missing = daemon.kubectl("top", "pod", "nobody", "-n", namespace, check=False)
    assert 'pods "nobody" not found' in missing.stderr


def test_kubelets_own_paths_are_read_through_the_node_by_those_who_may(daemon: Daemon, namespace: str) -> None:
    script = "head -c 3000000 /dev/zero > /written; head -c 2000000 /dev/zero > /v/file; touch /v/done; sleep inf"
    container = {
        "name": "c",
        "image": "debian",
        "command": ["sh", "-c", script],
        "resources": {"limits": {"memory": "64Mi"}},
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "readinessProbe": {"exec": {"command": ["test", "-e", "/v/done"]}, "periodSeconds": 1},
    }
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": [{"name": "v", "emptyDir": {}}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "writer"}, "spec": spec}
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(pod))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/writer", "--timeout=60s")
    node = daemon.kubectl("get", "node", "-o", "name").stdout.strip().removeprefix("node/")
    proxy = f"/api/v1/nodes/{node}/proxy"

    summary = json.loads(daemon.kubectl("get", "--raw", f"{proxy}/stats/summary").stdout)
    assert summary["node"]["nodeName"] == node
    assert set(summary["node"]) >= {"cpu", "memory", "fs", "runtime", "rlimit", "swap", "startTime", "systemContainers"}
    (seen,) = [each for each in summary["pods"] if each["podRef"]["namespace"] == namespace]
    (stats,) = seen["containers"]
    assert 0 < stats["memory"]["workingSetBytes"] + stats["memory"]["availableBytes"] <= 64 << 20
    assert stats["rootfs"]["usedBytes"] >= 3_000_000
    (volume,) = [each for each in seen["volume"] if each["name"] == "v"]
    assert 2_000_000 <= volume["usedBytes"] < 3_000_000
    assert seen["ephemeral-storage"]["usedBytes"] >= 5_000_000
    assert seen["network"]["name"] == "eth0"
    assert seen["process_stats"]["process_count"] >= 1

    metrics = daemon.kubectl("get", "--raw", f"{proxy}/metrics/resource").stdout
    assert f'pod_memory_working_set_bytes{{namespace="{namespace}",pod="writer"}}' in metrics
    assert daemon.kubectl("get", "--raw", f"{proxy}/healthz").stdout == "ok"
    pods = json.loads(daemon.kubectl("get", "--raw", f"{proxy}/pods").stdout)
    assert "writer" in [each["metadata"]["name"] for each in pods["items"]]
    assert "evictionPressureTransitionPeriod" in json.loads(
        daemon.kubectl("get", "--raw", f"{proxy}/configz").stdout
    )["kubeletconfig"]  # fmt: skip
    missing = daemon.kubectl("get", "--raw", f"{proxy}/metrics/cadvisor", check=False)
    assert "podhost has no /metrics/cadvisor of a kubelet; it has /configz, /healthz" in missing.stderr

    daemon.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    account = f"system:serviceaccount:{namespace}:reader"
    words = ("get", "--raw", f"{proxy}/healthz", "--as", account)
    assert "Forbidden" in daemon.kubectl(*words, check=False).stderr
    role = f"reader-{namespace}"
    daemon.kubectl("create", "clusterrole", role, "--verb=get", "--resource=nodes/proxy")
    daemon.kubectl(
        "create", "clusterrolebinding", role, f"--clusterrole={role}", f"--serviceaccount={namespace}:reader"
    )
    assert daemon.kubectl(*words).stdout == "ok"
    daemon.kubectl("delete", f"clusterrole/{role}", f"clusterrolebinding/{role}")
    daemon.kubectl("delete", "pod", "writer", "-n", namespace)
