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
def test_conflict_over_a_host_port_names_the_pod_that_has_it(daemon: Daemon, namespace: str) -> None:
    port = find_free_port()
    node = daemon.get("/api/v1/nodes")["items"][0]["metadata"]["name"]

    def pod(name: str, address: str) -> str:
        # Bound by hand: the scheduler would let the second pod wait.
        ports = [{"containerPort": 80, "hostPort": port, "hostIP": address}]
        containers = [{"name": "c", "image": "debian", "command": ["sleep", "infinity"], "ports": ports}]
        return build_pod(name, "", containers=containers, nodeName=node)

    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=pod("web", "127.0.0.1"))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/web", "--timeout=30s")
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=pod("rival", "0.0.0.0"))
    message = wait_for_event(daemon, namespace, "rival", "FailedCreatePodSandBox")
    assert f"cannot publish host port {port}/TCP: it belongs to pod {namespace}/web" in message
    # As soon as the port is given back, the one that waits gets it.
    daemon.kubectl("delete", "-n", namespace, "pod", "web", "--timeout=30s")
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/rival", "--timeout=60s")
