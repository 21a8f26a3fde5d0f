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

    screen = daemon.podhost("-n", namespace, "top", "hungry", "--containers").stdout.splitlines()
    assert screen[0].split()[:2] == ["POD", "CPU"]
    assert sorted(line.split()[0] for line in screen[1:]) == ["hungry", "keep", "spin"]
    assert "\x1b" not in "".join(screen)
    missing = daemon.kubectl("top", "pod", "nobody", "-n", namespace, check=False)
    assert 'pods "nobody" not found' in missing.stderr
