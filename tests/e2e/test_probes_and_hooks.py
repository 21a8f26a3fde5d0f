"""Probes and hooks of every kind, with real containers that have no tool for them, through kubectl."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from harness import grpc_server
from harness.covers import covers
from harness.daemon import Daemon, running_daemon, wait_until
from harness.pods import container_status, find_events, wait_for_event, wait_for_waiting

FILES_SERVER = """
import http.server, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.path.exists('/d' + self.path) else 500)
        self.end_headers()
http.server.ThreadingHTTPServer(('', int(sys.argv[1])), Handler).serve_forever()
"""
"""Answers 200 for a file that exists in /d, else 500."""
PORT_HOLDER = """
import os, socket, time
server = socket.create_server(('', 9001))
while os.path.exists('/d/tcp'): time.sleep(0.05)
server.close()
time.sleep(3600)
"""
"""Listens while a file exists."""


@pytest.fixture(scope="module")
def daemon(image_store: Path) -> Iterator[Daemon]:
    """Back-off and probes ten times as fast as written."""
    with running_daemon(image_store, "--time-scale", "0.1") as running:
        yield running


def apply(daemon: Daemon, namespace: str, name: str, *containers: dict[str, Any], **spec: Any) -> None:
    defaults = {"image": "debian", "volumeMounts": [{"name": "d", "mountPath": "/d"}]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "volumes": [{"name": "d", "emptyDir": {}}],
            **spec,
            "containers": [{**defaults, **c} for c in containers],
        },
    }
    for init in pod["spec"].get("initContainers", ()):  # type: ignore[attr-defined]
        init.update({**defaults, **init})
    result = daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(pod))
    assert result.stderr == ""  # Nothing is warned of.


def shell(daemon: Daemon, namespace: str, pod: str, container: str, script: str) -> str:
    return daemon.kubectl("exec", "-n", namespace, pod, "-c", container, "--", "sh", "-c", script).stdout


def wait_condition(daemon: Daemon, namespace: str, pod: str, condition: str) -> None:
    daemon.kubectl("wait", "-n", namespace, f"--for=condition={condition}", f"pod/{pod}", "--timeout=50s")


def ready_addresses(daemon: Daemon, namespace: str) -> list[str]:
    slices = daemon.get(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")["items"]
    endpoints = [e for s in slices for e in s.get("endpoints") or () if e["conditions"]["ready"]]
    return [address for endpoint in endpoints for address in endpoint["addresses"]]


def answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), 2) as connection:
            connection.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(100)
    except OSError:
        return False


@covers(
    "Container.ports", "Container.startupProbe", "ExecAction.command", "HTTPGetAction.path", "HTTPGetAction.port",
    "Probe.exec", "Probe.failureThreshold", "Probe.httpGet", "Probe.terminationGracePeriodSeconds",
)  # fmt: skip
@covers(
    "ExecAction.command", "HTTPGetAction.path", "HTTPGetAction.port", "Probe.exec", "Probe.failureThreshold",
    "Probe.httpGet", "Probe.terminationGracePeriodSeconds",
)  # fmt: skip
def test_a_service_follows_the_readiness_of_its_pods(daemon: Daemon, namespace: str) -> None:
    server = {
        "name": "main",
        "image": "training/webapp",
        "command": ["python3", "-c", FILES_SERVER, "8080"],
        "ports": [{"name": "www", "containerPort": 8080}],
        "startupProbe": {"exec": {"command": ["test", "-e", "/d/started"]}, "failureThreshold": 1000},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "www"}, "failureThreshold": 1},
    }
    apply(daemon, namespace, "web", server)
    daemon.kubectl("expose", "-n", namespace, "pod", "web", "--port=80", "--target-port=www")
    address = daemon.get(f"/api/v1/namespaces/{namespace}/services/web")["spec"]["clusterIP"]
    wait_until(lambda: "running" in container_status(daemon, namespace, "web", "main").get("state", {}), what="a start")
    assert container_status(daemon, namespace, "web", "main")["started"] is False
    wait_for_event(daemon, namespace, "web", "Unhealthy", "Startup probe failed: ")
    shell(daemon, namespace, "web", "main", "touch /d/started")
    wait_for_event(
        daemon, namespace, "web", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 500"
    )
    assert container_status(daemon, namespace, "web", "main")["started"] is True
    conditions = {c["type"]: c for c in daemon.pod("web", namespace)["status"]["conditions"]}
    assert conditions["Ready"]["message"] == "containers with unready status: [main]"
    assert (conditions["Ready"]["reason"], conditions["Ready"]["status"]) == ("ContainersNotReady", "False")
    assert not answers(address, 80)
    shell(daemon, namespace, "web", "main", "touch /d/ready")
    wait_condition(daemon, namespace, "web", "Ready")
    wait_until(lambda: answers(address, 80), what="the Service")
    assert ready_addresses(daemon, namespace) == [daemon.pod("web", namespace)["status"]["podIP"]]
    assert "1/1" in daemon.kubectl("get", "pod", "-n", namespace, "web").stdout
    # Over a restart of the daemon it stays ready, and goes on being probed.
    daemon.kill()
    daemon.start()
    assert answers(address, 80)
    wait_condition(daemon, namespace, "web", "Ready")
    shell(daemon, namespace, "web", "main", "rm /d/ready")
    wait_condition(daemon, namespace, "web", "Ready=False")
    wait_until(lambda: ready_addresses(daemon, namespace) == [], what="the end of the endpoint")
    wait_until(lambda: not answers(address, 80), what="the end of the Service")
    assert container_status(daemon, namespace, "web", "main")["restartCount"] == 0


def packages_of_grpc_server() -> list[dict[str, Any]]:
    """The test's HTTP/2 library, to be mounted into a container."""
    places = [Path(grpc_server.__file__)]
    for name in ("h2", "hpack", "hyperframe"):
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        places.append(Path(spec.origin).parent)
    return [
        {"name": place.name.partition(".")[0].replace("_", "-"), "hostPath": {"path": str(place)}} for place in places
    ]


@covers(
    "Container.livenessProbe", "GRPCAction.port", "GRPCAction.service", "Probe.grpc", "Probe.initialDelaySeconds",
    "Probe.tcpSocket", "TCPSocketAction.port",
)  # fmt: skip
def test_liveness_by_exec_http_tcp_and_grpc_restarts_the_container(daemon: Daemon, namespace: str) -> None:
    quick = {"failureThreshold": 1, "terminationGracePeriodSeconds": 1}
    packages = packages_of_grpc_server()
    mounts = [{"name": p["name"], "mountPath": f"/py/{Path(p['hostPath']['path']).name}"} for p in packages]
    volume = [{"name": "d", "mountPath": "/d"}]
    containers: list[dict[str, Any]] = [
        {"name": "exec", "command": ["sleep", "3600"],
         "livenessProbe": {"exec": {"command": ["sh", "-c", "test -e /d/exec || { echo gone; exit 1; }"]}, **quick}},
        {"name": "http", "image": "training/webapp", "command": ["python3", "-c", FILES_SERVER, "9000"],
         "livenessProbe": {"httpGet": {"path": "http", "port": 9000}, "initialDelaySeconds": 20, **quick}},
        {"name": "tcp", "image": "training/webapp", "command": ["python3", "-c", PORT_HOLDER],
         "livenessProbe": {"tcpSocket": {"port": 9001}, "initialDelaySeconds": 20, **quick}},
        {"name": "grpc", "image": "training/webapp", "command": ["python3", "/py/grpc_server.py", "9002"],
         "env": [{"name": "PYTHONPATH", "value": "/py"}], "volumeMounts": mounts,
         "readinessProbe": {"grpc": {"port": 9002}},
         "livenessProbe": {"grpc": {"port": 9002, "service": "down"}, "initialDelaySeconds": 40, **quick}},
    ]  # fmt: skip
    init = [{"name": "make", "command": ["sh", "-c", "touch /d/exec /d/http /d/tcp"], "volumeMounts": volume}]
    apply(daemon, namespace, "p", *containers, initContainers=init, volumes=[{"name": "d", "emptyDir": {}}, *packages])
    wait_condition(daemon, namespace, "p", "Ready")
    ip = daemon.pod("p", namespace)["status"]["podIP"]
    shell(daemon, namespace, "p", "exec", "rm /d/exec /d/http /d/tcp")
    texts = {
        "exec": "Liveness probe failed: gone",
        "http": "Liveness probe failed: HTTP probe failed with statuscode: 500",
        "tcp": f"Liveness probe failed: dial tcp {ip}:9001: connect: connection refused",
        "grpc": 'Liveness probe failed: service unhealthy (responded with "NOT_SERVING")',
    }
    for name, text in texts.items():
        wait_for_event(daemon, namespace, "p", "Unhealthy", text)
        wait_for_event(daemon, namespace, "p", "Killing", f"Container {name} failed liveness probe, will be restarted")
        wait_until(
            lambda name=name: container_status(daemon, namespace, "p", name)["restartCount"] >= 1, what=f"{name} again"
        )


@covers("Probe.periodSeconds", "Probe.timeoutSeconds")
def test_a_probe_command_that_takes_too_long_leaves_no_process(daemon: Daemon, namespace: str) -> None:
    """kubernetes/kubernetes 51901, 124226."""
    command = ["sh", "-c", "(setsid sleep 36001 &); sleep 36002 & sleep 36003"]
    probe = {"exec": {"command": command}, "timeoutSeconds": 1, "periodSeconds": 36000}
    missing = {"exec": {"command": ["/no/such"]}, "periodSeconds": 36000}
    apply(
        daemon,
        namespace,
        "p",
        {"name": "main", "command": ["sleep", "36000"], "readinessProbe": probe, "livenessProbe": missing},
    )
    text = f'Readiness probe failed: command "{" ".join(command)}" timed out'
    wait_for_event(daemon, namespace, "p", "Unhealthy", text)
    processes = shell(daemon, namespace, "p", "main", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "sleep 36000" in processes
    assert all(f"sleep 3600{n}" not in processes for n in (1, 2, 3))
    # A command that is not there says nothing about the container.
    wait_for_event(
        daemon, namespace, "p", "Unhealthy", "Liveness probe errored and resulted in unknown state: ", "/no/such"
    )
    assert container_status(daemon, namespace, "p", "main")["restartCount"] == 0


@covers("Container.startupProbe")
def test_startup_probes_gate_init_containers_and_end_what_does_not_start(daemon: Daemon, namespace: str) -> None:
    sidecar = {
        "name": "side", "restartPolicy": "Always", "command": ["sh", "-c", "sleep 0.5; touch /d/up; sleep 3600"],
        "startupProbe": {"exec": {"command": ["test", "-e", "/d/up"]}, "periodSeconds": 1, "failureThreshold": 300},
    }  # fmt: skip
    after = {"name": "after", "command": ["sh", "-c", "test -e /d/up"]}
    never = {
        "name": "never", "command": ["sleep", "3600"],
        "startupProbe": {"tcpSocket": {"port": 1}, "failureThreshold": 2, "terminationGracePeriodSeconds": 1},
    }  # fmt: skip
    apply(daemon, namespace, "p", never, initContainers=[sidecar, after])
    wait_for_event(daemon, namespace, "p", "Killing", "Container never failed startup probe, will be restarted")
    assert container_status(daemon, namespace, "p", "after")["restartCount"] == 0  # it found the file at once
    assert container_status(daemon, namespace, "p", "side")["started"] is True
    assert container_status(daemon, namespace, "p", "never")["started"] is False


@covers("HTTPGetAction.host", "TCPSocketAction.host")
def test_a_pod_on_the_hosts_network_is_probed_there(daemon: Daemon, namespace: str) -> None:
    with socket.socket() as chooser:
        chooser.bind(("127.0.0.1", 0))
        port = chooser.getsockname()[1]
    server = {
        "name": "main", "image": "training/webapp", "command": ["python3", "-c", FILES_SERVER, str(port)],
        "readinessProbe": {"tcpSocket": {"port": port, "host": "127.0.0.1"}, "periodSeconds": 1},
        "startupProbe": {"httpGet": {"path": "/", "port": port}, "failureThreshold": 300, "periodSeconds": 1},
    }  # fmt: skip
    apply(daemon, namespace, "p", server, hostNetwork=True)
    wait_condition(daemon, namespace, "p", "Ready")


def append(word: str) -> dict[str, Any]:
    return {"exec": {"command": ["sh", "-c", f"echo {word} >> /log/events"]}}


@covers(
    "Lifecycle.postStart", "Lifecycle.preStop", "LifecycleHandler.exec", "LifecycleHandler.httpGet",
    "LifecycleHandler.sleep", "SleepAction.seconds",
)  # fmt: skip
def test_hooks_run_around_the_life_of_containers_in_the_order_of_kubernetes(
    daemon: Daemon, namespace: str, tmp_path: Path
) -> None:
    log = {"name": "d", "hostPath": {"path": str(tmp_path)}}
    mounts = [{"name": "d", "mountPath": "/log"}]

    def trapping(name: str, stop_signal: str = "TERM") -> list[str]:
        script = f'trap "echo {name}-{stop_signal} >> /log/events; exit 0" {stop_signal}; while :; do sleep 0.05; done'
        return ["bash", "-c", script]

    main = {
        "name": "main", "command": trapping("main"), "volumeMounts": mounts,
        "lifecycle": {"postStart": append("main-begin"), "preStop": append("main-end")},
    }  # fmt: skip
    web = {
        "name": "web", "image": "training/webapp", "volumeMounts": [*mounts, {"name": "d", "mountPath": "/d"}],
        "command": ["python3", "-c", FILES_SERVER, "9000"],
        "lifecycle": {"preStop": {"httpGet": {"path": "/x", "port": 9000}}, "postStart": {"sleep": {"seconds": 1}}},
    }  # fmt: skip
    sidecars = [
        {"name": f"s{n}", "restartPolicy": "Always", "command": trapping(f"s{n}"), "volumeMounts": mounts,
         "lifecycle": {"preStop": append(f"s{n}-end"), "postStart": append(f"s{n}-begin")}}
        for n in (1, 2)
    ]  # fmt: skip
    apply(
        daemon, namespace, "p", main, web, initContainers=sidecars, volumes=[log], terminationGracePeriodSeconds=20
    )  # fmt: skip
    wait_condition(daemon, namespace, "p", "Ready")
    daemon.kubectl("delete", "-n", namespace, "pod", "p", "--timeout=50s")
    events = (tmp_path / "events").read_text().split()
    assert events[:3] == ["s1-begin", "s2-begin", "main-begin"]
    assert set(events[3:6]) | {events[6]} >= {"main-end", "s1-end", "s2-end"}  # hooks of all at once
    assert events.index("main-end") < events.index("main-TERM") < events.index("s2-TERM") < events.index("s1-TERM")
    assert len(events) == 9
    assert not any(reason == "FailedPreStopHook" for _, reason, _ in find_events(daemon, namespace, "p"))


def test_failing_hooks_are_told_and_kill_the_container(daemon: Daemon, namespace: str) -> None:
    bad = {"exec": {"command": ["sh", "-c", "echo why >&2; exit 3"]}}
    main = {"name": "main", "command": ["sleep", "3600"], "lifecycle": {"postStart": bad, "preStop": bad}}
    apply(daemon, namespace, "p", main, terminationGracePeriodSeconds=1)
    wait_for_event(daemon, namespace, "p", "FailedPostStartHook", "PostStartHook failed")
    wait_for_event(daemon, namespace, "p", "Killing", "FailedPostStartHook")
    wait_for_event(daemon, namespace, "p", "FailedPreStopHook", "PreStopHook failed")
    wait_until(lambda: container_status(daemon, namespace, "p", "main")["restartCount"] >= 1, what="a restart")
    wait_for_waiting(daemon, namespace, "p", "CrashLoopBackOff", "main")
    assert container_status(daemon, namespace, "p", "main")["ready"] is False


@pytest.mark.parametrize("kind", ["preStop", "postStart"])
@covers("PodSpec.terminationGracePeriodSeconds")
def test_a_hook_that_hangs_holds_a_deletion_no_longer_than_its_grace(daemon: Daemon, namespace: str, kind: str) -> None:
    hanging = {"exec": {"command": ["sh", "-c", "touch /d/hook; sleep 36009"]}}
    apply(daemon, namespace, "p", {"name": "main", "command": ["sleep", "3600"], "lifecycle": {kind: hanging}},
          {"name": "other", "command": ["sleep", "3600"]}, terminationGracePeriodSeconds=3600)  # fmt: skip
    wait_until(lambda: "running" in container_status(daemon, namespace, "p", "other").get("state", {}), what="a start")
    if kind == "preStop":
        wait_condition(daemon, namespace, "p", "Ready")
        daemon.kubectl("delete", "-n", namespace, "pod", "p", "--wait=false")
    wait_until(lambda: shell(daemon, namespace, "p", "other", "ls /d") == "hook\n", what="the hook")
    if kind == "postStart":
        assert container_status(daemon, namespace, "p", "main")["state"] == {"waiting": {"reason": "ContainerCreating"}}
    daemon.kubectl("delete", "-n", namespace, "pod", "p", "--grace-period=1", "--timeout=40s")
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert not any(b"36009" in command for command in commands)
