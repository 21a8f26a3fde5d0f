from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from harness.kubelet_rig import make_pod
from podhost.api import models
from podhost.kubelet.environment import ConfigError, EnvironmentContext, build_environment
from podhost.kubelet.expansion import expand

OBJECTS: dict[tuple[str, str], dict[str, Any]] = {
    ("ConfigMap", "conf"): {"data": {"a": "1", "b": "2"}},
    ("Secret", "sec"): {"data": {"key": base64.b64encode(b"hush").decode()}},
}
SERVICES = (
    {
        "metadata": {"name": "my-db", "namespace": "default"},
        "spec": {
            "clusterIP": "10.96.0.9",
            "ports": [{"port": 5432, "name": "pg-main"}, {"port": 53, "protocol": "UDP"}],
        },
    },
    {"metadata": {"name": "headless", "namespace": "default"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}},
)


def _build(
    *env: dict[str, Any], env_from: list[dict[str, Any]] | None = None, services: tuple[Any, ...] = (), **spec: Any
) -> dict[str, str]:
    container = {"name": "main", "env": list(env), "envFrom": env_from or []}
    container.update(spec.pop("container", {}))
    document = make_pod("web", container, **spec)
    document["metadata"]["labels"] = {"app": "shop"}
    pod = msgspec.convert(document, models.Pod)

    def read(kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        return OBJECTS.get((kind, name))

    context = EnvironmentContext(
        read=read, pod_ips=("10.0.0.5",), host_ips=("192.168.0.1",), node_name="n1", services=services,
        cpu_millis=2500, memory_bytes=1 << 30,
    )  # fmt: skip
    return dict(build_environment(pod, pod.spec.containers[0], context))


def _ref(source: str, **ref: Any) -> dict[str, Any]:
    return {"name": "V", "valueFrom": {source: ref}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "x"), ("$$(A)", "$(A)"), ("$(NO)", "$(NO)"), ("a$b", "a$b"), ("$$$$", "$$"), ("$(A)$(A)", "xx"),
        ("$(A", "$(A"), ("$", "$"), ("$$$(A)", "$x"),
    ],
)  # fmt: skip
def test_references_expand_as_in_kubernetes(text: str, expected: str) -> None:
    assert expand(text, {"A": "x"}) == expected


def test_a_variable_can_use_those_before_it() -> None:
    assert _build({"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2 $(C)"}, {"name": "C", "value": "3"}) == {
        "A": "1", "B": "12 $(C)", "C": "3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("var", "value"),
    [
        (_ref("configMapKeyRef", name="conf", key="a"), "1"),
        (_ref("secretKeyRef", name="sec", key="key"), "hush"),
        (_ref("fieldRef", fieldPath="metadata.name"), "web"),
        (_ref("fieldRef", fieldPath="metadata.namespace"), "default"),
        (_ref("fieldRef", fieldPath="metadata.uid"), "uid-web"),
        (_ref("fieldRef", fieldPath="metadata.labels['app']"), "shop"),
        (_ref("fieldRef", fieldPath="metadata.annotations['none']"), ""),
        (_ref("fieldRef", fieldPath="spec.nodeName"), "n1"),
        (_ref("fieldRef", fieldPath="spec.serviceAccountName"), "default"),
        (_ref("fieldRef", fieldPath="status.podIP"), "10.0.0.5"),
        (_ref("fieldRef", fieldPath="status.hostIP"), "192.168.0.1"),
        (_ref("resourceFieldRef", resource="limits.cpu"), "3"),
        (_ref("resourceFieldRef", resource="limits.memory", divisor="1Mi"), "1024"),
        (_ref("resourceFieldRef", resource="requests.cpu", divisor="1m"), "0"),
    ],
)
def test_values_come_from_elsewhere(var: dict[str, Any], value: str) -> None:
    assert _build(var) == {"V": value}


@pytest.mark.parametrize(
    ("var", "message"),
    [
        (_ref("configMapKeyRef", name="x", key="k"), 'configmap "x" not found'),
        (_ref("configMapKeyRef", name="conf", key="k"), "couldn't find key k in ConfigMap default/conf"),
        (_ref("secretKeyRef", name="x", key="k"), 'secret "x" not found'),
        (_ref("secretKeyRef", name="sec", key="k"), "couldn't find key k in Secret default/sec"),
    ],
)
def test_missing_objects_and_keys_are_named(var: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        _build(var)
    assert str(error.value) == message


def test_optional_references_leave_the_variable_out() -> None:
    assert _build(_ref("configMapKeyRef", name="x", key="k", optional=True)) == {}
    assert _build(env_from=[{"secretRef": {"name": "x", "optional": True}}]) == {}


def test_env_overrides_env_from_and_prefixes_are_added() -> None:
    sources: list[dict[str, Any]] = [
        {"configMapRef": {"name": "conf"}, "prefix": "P_"},
        {"configMapRef": {"name": "conf"}},
    ]
    assert _build({"name": "a", "value": "own $(P_b)"}, env_from=sources) == {
        "P_a": "1", "P_b": "2", "a": "own 2", "b": "2",
    }  # fmt: skip


def test_services_are_announced() -> None:
    env = _build(services=SERVICES)
    assert env == {
        "MY_DB_SERVICE_HOST": "10.96.0.9",
        "MY_DB_SERVICE_PORT": "5432",
        "MY_DB_SERVICE_PORT_PG_MAIN": "5432",
        "MY_DB_PORT": "tcp://10.96.0.9:5432",
        "MY_DB_PORT_5432_TCP": "tcp://10.96.0.9:5432",
        "MY_DB_PORT_5432_TCP_PROTO": "tcp",
        "MY_DB_PORT_5432_TCP_PORT": "5432",
        "MY_DB_PORT_5432_TCP_ADDR": "10.96.0.9",
        "MY_DB_PORT_53_UDP": "udp://10.96.0.9:53",
        "MY_DB_PORT_53_UDP_PROTO": "udp",
        "MY_DB_PORT_53_UDP_PORT": "53",
        "MY_DB_PORT_53_UDP_ADDR": "10.96.0.9",
    }
    assert _build(services=SERVICES, enableServiceLinks=False) == {}
