"""Objects walked along the schema."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.api.apply.field_sets import format_path, paths
from podhost.api.apply.shapes import root_shape
from podhost.api.apply.values import TypedError, check_config, collect_fields, compare, merge

POD = root_shape("io.k8s.api.core.v1.Pod")
SERVICE = root_shape("io.k8s.api.core.v1.Service")


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": spec}


def shown(fields: Any) -> list[str]:
    return [format_path(path) for path in paths(fields)]


def test_a_configuration_claims_leaves_items_and_free_keys() -> None:
    config = pod(
        containers=[{"name": "a", "ports": [{"containerPort": 80}], "args": ["x"], "resources": {}}],
        nodeSelector={"disk": "ssd"},
    )
    config["metadata"]["labels"] = {"app": "x"}
    assert shown(collect_fields(config, POD)) == [
        ".metadata.name",
        ".metadata.labels.app",
        ".spec.nodeSelector",
        '.spec.containers[name="a"]',
        '.spec.containers[name="a"].args',
        '.spec.containers[name="a"].name',
        '.spec.containers[name="a"].resources',
        '.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"]',
        '.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"].containerPort',
    ]


def test_a_comparison_tells_what_is_added_removed_and_modified() -> None:
    old = pod(containers=[{"name": "a", "image": "1"}, {"name": "b", "image": "1"}], hostname="h")
    new = pod(containers=[{"name": "a", "image": "2"}, {"name": "c", "env": [{"name": "X"}]}])
    new["metadata"]["labels"] = {"app": "x"}
    found = compare(old, new, POD)
    assert shown(found.modified) == ['.spec.containers[name="a"].image']
    assert shown(found.removed) == [
        ".spec.hostname",
        '.spec.containers[name="b"]',
        '.spec.containers[name="b"].image',
        '.spec.containers[name="b"].name',
    ]
    assert shown(found.added) == [
        ".metadata.labels",
        ".metadata.labels.app",
        '.spec.containers[name="c"]',
        '.spec.containers[name="c"].env',
        '.spec.containers[name="c"].name',
        '.spec.containers[name="c"].env[name="X"]',
        '.spec.containers[name="c"].env[name="X"].name',
    ]


def names(items: list[dict[str, Any]]) -> str:
    return "".join(item["name"] for item in items)


@pytest.mark.parametrize(
    ("live", "config", "merged"),
    [
        ("ab", "ba", "ba"),
        ("abc", "c", "abc"),
        ("abc", "xc", "xabc"),
        ("axb", "ab", "axb"),
        ("axb", "ba", "xba"),
        ("a", "b", "ba"),
        ("", "ab", "ab"),
    ],
)
def test_items_take_the_order_of_the_configuration_and_others_stay_near_theirs(
    live: str, config: str, merged: str
) -> None:
    both = [pod(containers=[{"name": letter} for letter in letters]) for letters in (live, config)]
    result = merge(both[0], both[1], POD)["spec"]["containers"]
    assert names(result) == merged


def test_atomic_lists_and_maps_are_replaced() -> None:
    live = pod(nodeSelector={"a": "1"}, containers=[{"name": "c", "args": ["x"]}])
    config = pod(nodeSelector={"b": "2"}, containers=[{"name": "c", "args": ["y"]}])
    assert merge(live, config, POD) == config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (pod(foo=1), ".spec.foo: field not declared in schema"),
        (pod(containers=[{"name": "a", "img": 1}]), '.spec.containers[name="a"].img: field not declared in schema'),
        (pod(hostname=3), ".spec.hostname: expected string, got 3"),
        (pod(hostNetwork="x"), '.spec.hostNetwork: expected boolean, got "x"'),
        (pod(priority="x"), '.spec.priority: expected numeric (int or float), got "x"'),
        (pod(containers={}), ".spec.containers: expected list, got map"),
        ({"spec": []}, ".spec: expected map, got list"),
        (
            pod(containers=[{"image": "x"}]),
            '.spec.containers: element 0: associative list with keys has an element that omits key field "name" '
            "(and doesn't have default value)",
        ),
        (
            pod(containers=[{"name": "a"}, {"name": "a"}]),
            '.spec.containers: duplicate entries for key [name="a"]',
        ),
        (
            pod(foo=1, bar=2),
            "errors:\n  .spec.foo: field not declared in schema\n  .spec.bar: field not declared in schema\n",
        ),
    ],
)
def test_what_the_schema_does_not_allow_is_named(config: Any, message: str) -> None:
    with pytest.raises(TypedError) as caught:
        check_config(config, POD)
    assert str(caught.value) == message


def test_ports_of_two_protocols_are_two_items() -> None:
    ports = [{"port": 53, "protocol": "UDP"}, {"port": 53}]
    check_config({"spec": {"ports": ports}}, SERVICE)
