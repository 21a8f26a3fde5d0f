"""Services, ConfigMaps, Secrets, Endpoints and the rest, with Kubernetes' messages."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from podhost.api import kinds, strategies
from podhost.api.events import EVENT
from podhost.api.kind import Kind, validate, validate_update
from podhost.api.structure import check_structure

Document = dict[str, Any]


def _errors(kind: Kind, document: Document) -> list[str]:
    document = {"metadata": {"name": "x"} | ({"namespace": "default"} if kind.namespaced else {})} | document
    decoded = check_structure(document, kind.schema)
    assert decoded.type_errors == []
    kind.prepare_create(decoded.document)
    kind.default(decoded.document)
    return [error.message for error in validate(kind, decoded.document)]


@pytest.mark.parametrize(
    ("spec", "messages"),
    [
        ({"ports": [{"port": 80}]}, []),
        ({"clusterIP": "None"}, []),
        ({"type": "ExternalName", "externalName": "example.com."}, []),
        ({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}, []),
        ({}, ["spec.ports: Required value"]),
        (
            {"ports": [{"port": 0}]},
            [
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        ),
        ({"ports": [{"port": 80}, {"port": 81, "name": "b"}]}, ["spec.ports[0].name: Required value"]),
        (
            {"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "a"}]},
            [
                'spec.ports[1].name: Duplicate value: "a"',
                'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,'
                '"TargetPort":0,"NodePort":0}',
            ],
        ),
        (
            {"type": "Node", "ports": [{"port": 80}]},
            [
                'spec.type: Unsupported value: "Node": supported values: "ClusterIP", "ExternalName", '
                '"LoadBalancer", "NodePort"'
            ],
        ),
        (
            {"ports": [{"port": 80, "nodePort": 30080}]},
            ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (
            {"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]},
            ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
        ),
        (
            {"clusterIP": "x", "ports": [{"port": 80}]},
            ['spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
        ),
        ({"type": "ExternalName"}, ["spec.externalName: Required value"]),
        (
            {"sessionAffinity": "x", "ports": [{"port": 80}]},
            ['spec.sessionAffinity: Unsupported value: "x": supported values: "ClientIP", "None"'],
        ),
    ],
)
def test_services(spec: Document, messages: list[str]) -> None:
    assert _errors(kinds.SERVICE, {"spec": spec}) == messages


def _stored_service() -> Document:
    return {
        "metadata": {"name": "x", "namespace": "default", "resourceVersion": "1"},
        "spec": {
            "type": "NodePort",
            "clusterIP": "10.0.0.1",
            "clusterIPs": ["10.0.0.1"],
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30080}],
            "sessionAffinity": "None",
            "externalTrafficPolicy": "Cluster",
            "internalTrafficPolicy": "Cluster",
        },
    }


def test_the_cluster_address_of_a_service_stays() -> None:
    old = _stored_service()
    new = copy.deepcopy(old)
    new["spec"] |= {"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"]}
    assert [e.message for e in validate_update(kinds.SERVICE, new, old)] == [
        'spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set'
    ]


def test_an_update_that_leaves_addresses_out_keeps_them() -> None:
    old = _stored_service()
    new = copy.deepcopy(old)
    del new["spec"]["clusterIP"], new["spec"]["clusterIPs"], new["spec"]["ports"][0]["nodePort"]
    strategies.prepare_service_update(new, old)
    assert new["spec"] == old["spec"]


def test_back_to_cluster_ip_drops_what_belonged_to_the_node_port() -> None:
    old = _stored_service()
    new = copy.deepcopy(old)
    new["spec"]["type"] = "ClusterIP"
    strategies.prepare_service_update(new, old)
    assert validate_update(kinds.SERVICE, new, old) == []
    assert "nodePort" not in new["spec"]["ports"][0]


@pytest.mark.parametrize(
    ("kind", "document", "messages"),
    [
        (kinds.CONFIG_MAP, {"data": {"a.b": "c"}, "binaryData": {"d": "YQ=="}}, []),
        (
            kinds.CONFIG_MAP,
            {"data": {"a": "c"}, "binaryData": {"a": "YQ=="}},
            ['data[a]: Invalid value: "a": duplicate of key present in binaryData'],
        ),
        (
            kinds.CONFIG_MAP,
            {"data": {"a": "x" * (1 << 20) + "x"}},
            [": Too long: may not be more than 1048576 bytes"],
        ),
        (kinds.SECRET, {"stringData": {"a": "b"}}, []),
        (
            kinds.SECRET,
            {"type": "kubernetes.io/tls"},
            ["data[tls.crt]: Required value", "data[tls.key]: Required value"],
        ),
        (
            kinds.SECRET,
            {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "eA=="}},
            [
                'data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": '
                "invalid character 'x' looking for beginning of value"
            ],
        ),
        (
            kinds.NAMESPACE,
            {"metadata": {"name": "a.b"}},
            ['metadata.name: Invalid value: "a.b": must not contain dots'],
        ),
        (
            kinds.NAMESPACE,
            {"metadata": {"name": "a", "namespace": "b"}},
            ["metadata.namespace: Forbidden: not allowed on this type"],
        ),
        (
            kinds.ENDPOINT_SLICE,
            {"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}]},
            [
                'endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range '
                "(127.0.0.0/8, ::1/128)"
            ],
        ),
        (
            kinds.ENDPOINTS,
            {"subsets": [{"ports": [{"port": 80}]}]},
            ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
        ),
        (
            EVENT,
            {"involvedObject": {"namespace": "other"}},
            ['involvedObject.namespace: Invalid value: "other": does not match event.namespace'],
        ),
    ],
)
def test_other_kinds(kind: Kind, document: Document, messages: list[str]) -> None:
    assert _errors(kind, document) == messages


@pytest.mark.parametrize("kind", [kinds.CONFIG_MAP, kinds.SECRET])
def test_what_is_immutable_stays(kind: Kind) -> None:
    old: Document = {
        "metadata": {"name": "x", "namespace": "default", "resourceVersion": "1"},
        "data": {"a": "YQ=="},
        "immutable": True,
    }
    new = copy.deepcopy(old) | {"data": {"a": "Yg=="}}
    assert [error.message for error in validate_update(kind, new, old)] == [
        "data: Forbidden: field is immutable when `immutable` is set"
    ]
