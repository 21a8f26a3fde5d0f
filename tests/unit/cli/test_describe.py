"""``describe`` and ``events``: objects in, text out."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.cli.describe_pod import describe_pod, describe_probe
from podhost.cli.describe_text import describe_object
from podhost.cli.events import build_selector, format_event, format_events, order_of
from podhost.cli.verdict import Verdict

NOW_S = 1_767_225_900.0  # 2026-01-01T00:05:00Z
STUCK = Verdict(state="stuck", text="CrashLoopBackOff: container web", container="web", next_step="look at its log")


def event(name: str, *, at: str = "2026-01-01T00:04:00Z", version: str = "5", **more: Any) -> dict[str, Any]:
    involved = {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{app}"}
    metadata = {"name": name, "namespace": "shop", "resourceVersion": version}
    base = {"type": "Normal", "reason": name, "message": "hello", "involvedObject": involved, "lastTimestamp": at}
    return {"metadata": metadata, **base, **more}


def make_pod() -> dict[str, Any]:
    container = {
        "name": "app",
        "image": "nginx:1",
        "command": ["sh", "-c", "echo a b"],
        "ports": [{"name": "http", "containerPort": 80, "hostPort": 8080}],
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "c"}, "prefix": "P_"}],
        "resources": {"limits": {"memory": "64Mi"}},
        "volumeMounts": [{"name": "html", "mountPath": "/html", "readOnly": True, "subPath": "x"}],
        "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
    }
    ended = {"exitCode": 3, "reason": "Error", "finishedAt": "2026-01-01T00:04:30Z", "message": "no db"}
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off"}
    state = {"name": "app", "state": {"waiting": waiting}, "lastState": {"terminated": ended}, "restartCount": 4}
    return {
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {
            "nodeName": "vm",
            "containers": [container],
            "volumes": [{"name": "html", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "spare", "emptyDir": {}}],
            "hostAliases": [{"ip": "10.0.0.1"}],
            "dnsPolicy": "ClusterFirst",
        },
        "status": {
            "phase": "Running",
            "containerStatuses": [state],
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
            ],
        },
    }


def test_pod_begins_with_what_is_wrong_the_log_and_the_next_step() -> None:
    lines = describe_pod(make_pod(), [], STUCK, NOW_S, log=["last\x1b[2J words"])
    assert lines[:4] == [
        "pod/web  CrashLoopBackOff: container web",
        "  last lines of web:",
        "    | last?[2J words",
        "  → look at its log",
    ]


def test_next_step_of_a_description_is_not_that_description() -> None:
    step = "see what the pod asks for: podhost describe web"
    verdict = Verdict(state="stuck", text="Unschedulable", next_step=step)
    assert describe_pod(make_pod(), [], verdict, NOW_S)[1] == "  → see what the pod asks for (below)"
    longer = Verdict(state="stuck", text="Unschedulable", next_step=f"{step}-2")
    assert describe_pod(make_pod(), [], longer, NOW_S)[1] == f"  → {step}-2"


def test_description_names_the_pods_that_hold_the_host_ports() -> None:
    step = "see which pod has the hostPort: podhost describe web"
    verdict = Verdict(state="stuck", text="Unschedulable", next_step=step)
    lines = describe_pod(make_pod(), [], verdict, NOW_S, port_holders=["8080/TCP is held by pod/other -n shop"])
    assert lines[1:3] == [
        "  host port 8080/TCP is held by pod/other -n shop",
        "  → choose another hostPort, or delete the pod that has it",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Namespace:       shop",
        "Conditions:      PodScheduled\n                 not Ready (ContainersNotReady)",
        "    State:           waiting (CrashLoopBackOff: back-off)",
        "    Last run:        ended with exit code 3 (Error), 2026-01-01T00:04:30Z (30s ago)\n"
        "                     no db",
        "    Restarts:        4",
        "    Command:         sh -c 'echo a b'",
        "    Ports:           80/TCP (http), on the host :8080",
        "    Limits:          memory 64Mi",
        "    Environment:     A=1\n"
        "                     B from key k of Secret s\n"
        "                     IP from status.podIP\n"
        "                     all keys of ConfigMap c, each with prefix P_",
        "    Mounts:          /html from html/x (ro)",
        "    Also set:\n      lifecycle:\n        preStop:",
        "  html: emptyDir, app\n    sizeLimit: 1Mi\n  spare: emptyDir, nobody mounts it",
        "Also set\n  hostAliases:\n  - ip: 10.0.0.1",
        "Events\n  none in the last hour",
    ],
)
def test_pod_is_told_in_full(text: str) -> None:
    assert text in "\n".join(describe_pod(make_pod(), [], STUCK, NOW_S))


def test_events_of_a_pod_name_the_container_and_not_the_pod() -> None:
    lines = describe_pod(make_pod(), [event("Started")], STUCK, NOW_S)
    assert lines[-2].split() == ["LAST", "SEEN", "TYPE", "REASON", "CONTAINER", "MESSAGE"]
    assert lines[-1].split() == ["60s", "Normal", "Started", "app", "hello"]


def test_token_volume_is_one_line_and_quotes_are_readable() -> None:
    pod = make_pod()
    pod["spec"]["volumes"] = [{"name": "kube-api-access-x", "projected": {"sources": [{"downwardAPI": {}}]}}]
    pod["spec"]["containers"][0]["command"] = ["sh", "-c", "echo 'a b'", 'say "$x"']
    text = "\n".join(describe_pod(pod, [], STUCK, NOW_S))
    assert "kube-api-access-x: the token of the pod's ServiceAccount, nobody mounts it\n\n" in text
    assert """sh -c "echo 'a b'" 'say "$x"'""" in text


def test_defaults_are_not_told() -> None:
    assert "dnsPolicy" not in "\n".join(describe_pod(make_pod(), [], STUCK, NOW_S))


def test_values_of_a_secret_are_counted_and_not_shown() -> None:
    secret = {"metadata": {"name": "s", "namespace": "shop"}, "type": "Opaque", "data": {"password": "aHVudGVyMg=="}}
    text = "\n".join(describe_object("Secret", secret, [], NOW_S))
    assert "password: 7 bytes" in text
    assert "aHVudGVy" not in text


@pytest.mark.parametrize(
    ("probe", "text"),
    [
        ({"httpGet": {"port": 80, "path": "/healthz"}, "periodSeconds": 2}, "http-get http://:80/healthz, every 2s,"),
        ({"tcpSocket": {"port": "db"}, "initialDelaySeconds": 5}, "tcp-socket :db, first after 5s, every 10s,"),
        ({"exec": {"command": ["test", "-f", "/a b"]}}, "exec test -f '/a b', every 10s,"),
        ({"grpc": {"port": 9}}, "grpc :9, every 10s,"),
    ],
)
def test_probe_in_one_line(probe: dict[str, Any], text: str) -> None:
    assert describe_probe(probe).startswith(text)


def test_events_are_a_table_oldest_first() -> None:
    events = [event("Late", at="2026-01-01T00:04:30Z"), event("Second", version="9"), event("First", count=3)]
    lines = format_events(sorted(events, key=order_of), NOW_S).splitlines()
    assert lines[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert [line.split()[-3] for line in lines[1:]] == ["First", "Second", "Late"]
    assert lines[1].startswith("60s (x3)")


def test_followed_event_is_one_line_and_names_the_container() -> None:
    line = format_event(event("Killing", message="a\nb"), colour=False, with_namespace=True)
    assert line.split()[1:] == ["Normal", "Killing", "shop", "pod/web/app", "a", "b"]


def test_events_are_chosen_by_what_is_known() -> None:
    assert build_selector("", "", None) is None
    assert build_selector("", "web", "Warning") == "involvedObject.name=web,type=Warning"
    assert build_selector("Node", "vm", None) == "involvedObject.kind=Node,involvedObject.name=vm"
