"""Host ports that two pods want."""

from __future__ import annotations

import socket

from harness.covers import covers
from harness.daemon import Daemon
from harness.pods import build_pod, wait_for_event


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@covers(
    "Container.ports", "ContainerPort.containerPort", "ContainerPort.hostIP", "ContainerPort.hostPort",
    "ContainerPort.name",
)  # fmt: skip
def test_host_port_is_one_pods_at_a_time(daemon: Daemon, namespace: str) -> None:
    port = find_free_port()
    node = daemon.get("/api/v1/nodes")["items"][0]["metadata"]["name"]

    def apply(name: str, address: str, **spec: str) -> None:
        ports = [{"name": "web", "containerPort": 80, "hostPort": port, "hostIP": address}]
        containers = [{"name": "c", "image": "debian", "command": ["sleep", "infinity"], "ports": ports}]
        manifest = build_pod(name, "", containers=containers, **spec)
        daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)

    apply("web", "127.0.0.1")
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/web", "--timeout=30s")
    apply("forced", "0.0.0.0", nodeName=node)
    text = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    assert wait_for_event(daemon, namespace, "forced", "NodePorts") == text
    apply("rival", "0.0.0.0")
    waits = wait_for_event(daemon, namespace, "rival", "FailedScheduling")
    assert waits.startswith("0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.")
    # As soon as the port is given back, the one that waits gets it.
    daemon.kubectl("delete", "-n", namespace, "pod", "web", "--timeout=30s")
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/rival", "--timeout=60s")
    assert daemon.pod("forced", namespace)["status"]["phase"] == "Failed"
