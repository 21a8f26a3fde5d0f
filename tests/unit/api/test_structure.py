"""Documents are decoded as Go does it, with Go's words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.api.structure import check_structure

POD = "io.k8s.api.core.v1.Pod"
CONFIG_MAP = "io.k8s.api.core.v1.ConfigMap"
SECRET = "io.k8s.api.core.v1.Secret"


def _container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [fields]}}


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (
            _container(ports=[{"containerPort": "80"}]),
            "json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort "
            "of type int32",
        ),
        (
            _container(ports=[{"containerPort": 99999999999}]),
            "json: cannot unmarshal number 99999999999 into Go struct field "
            "ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            _container(ports=[{"containerPort": 80.5}]),
            "json: cannot unmarshal number 80.5 into Go struct field "
            "ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            {"metadata": {"labels": {"a": 1}}},
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        ({"spec": "x"}, "json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec"),
        (
            {"spec": {"containers": {}}},
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            _container(imagePullPolicy=True),
            "json: cannot unmarshal bool into Go struct field Container.spec.containers.imagePullPolicy "
            "of type v1.PullPolicy",
        ),
        (
            _container(command="sleep"),
            "json: cannot unmarshal string into Go struct field Container.spec.containers.command of type []string",
        ),
        (
            _container(resources={"limits": {"cpu": "one"}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            _container(livenessProbe={"httpGet": {"port": True}}),
            "json: cannot unmarshal bool into Go value of type int32",
        ),
        ([], "json: cannot unmarshal array into Go value of type v1.Pod"),
    ],
)
def test_the_first_value_of_a_wrong_type_is_reported_as_go_does(document: Any, error: str) -> None:
    assert check_structure(document, POD).type_errors == [error]


def test_unknown_fields_are_collected_and_dropped() -> None:
    document = {"spec": {"containers": [{"foo": 1, "name": "a"}], "bar": {}}, "baz": None}
    result = check_structure(document, POD)
    assert result.unknown_fields == [
        'unknown field "spec.containers[0].foo"',
        'unknown field "spec.bar"',
        'unknown field "baz"',
    ]
    assert result.document == {"spec": {"containers": [{"name": "a"}]}}


def test_nulls_and_empty_collections_vanish_but_empty_structures_stay() -> None:
    document = {
        "metadata": {"creationTimestamp": None, "labels": {}},
        "spec": {"containers": [], "volumes": [{"name": "v", "emptyDir": {}}], "tolerations": []},
    }
    assert check_structure(document, POD).document == {
        "metadata": {},
        "spec": {"containers": [], "volumes": [{"name": "v", "emptyDir": {}}]},
    }


def test_a_null_in_a_map_is_the_empty_string() -> None:
    assert check_structure({"data": {"a": None}}, CONFIG_MAP).document == {"data": {"a": ""}}


def test_quantities_times_and_bytes_are_normalised() -> None:
    pod = check_structure(_container(resources={"limits": {"cpu": 0.5, "memory": "1024Mi"}}), POD)
    assert pod.document["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi"}
    meta = check_structure({"metadata": {"creationTimestamp": "2026-01-02T03:04:05.6+01:00"}}, POD)
    assert meta.document["metadata"]["creationTimestamp"] == "2026-01-02T02:04:05Z"
    assert check_structure({"data": {"k": "aGk=\n"}}, SECRET).document == {"data": {"k": "aGk="}}
    assert check_structure({"data": {"k": "a*"}}, SECRET).type_errors == ["illegal base64 data at input byte 1"]


def test_the_document_is_never_the_callers() -> None:
    document = {"metadata": {"labels": {"a": "b"}}}
    decoded = check_structure(document, POD).document
    decoded["metadata"]["labels"]["a"] = "c"
    assert document["metadata"]["labels"] == {"a": "b"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["metadata", "spec", "name", "containers", "ports", "env", "labels", "x", "resources"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_any_json_is_decoded_or_refused(document: Any) -> None:
    result = check_structure(document, POD)
    again = check_structure(result.document, POD)
    assert again.document == result.document
    assert again.unknown_fields == []
