"""The typed models read and write what the definitions say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podhost.api import kinds, models
from podhost.api.kind import Kind
from podhost.api.schema import definition

ROOT = Path(__file__).resolve().parents[3]


MODELLED = [kind for kind in kinds.STORED_KINDS if hasattr(models, kind.kind)]


def _model(kind: Kind) -> Any:
    return getattr(models, kind.kind)


@pytest.mark.parametrize("kind", MODELLED, ids=lambda kind: str(kind.kind))
def test_models_have_exactly_the_fields_of_their_definition(kind: Kind) -> None:
    names = {field.encode_name for field in msgspec.structs.fields(_model(kind))}
    assert names == set(definition(kind.schema).fields)


@pytest.mark.parametrize("kind", MODELLED, ids=lambda kind: str(kind.kind))
@settings(max_examples=30, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_documents_survive_the_models(
    documents_of: Callable[[str], st.SearchStrategy[dict[str, Any]]], kind: Kind, data: st.DataObject
) -> None:
    document = data.draw(documents_of(kind.schema))
    try:
        typed = msgspec.convert(document, _model(kind))
    except msgspec.ValidationError as error:
        if "missing required field" in str(error):
            return
        raise
    again = msgspec.convert(msgspec.to_builtins(typed), _model(kind))
    assert again == typed


def test_all_kinds_that_the_engine_reads_have_models() -> None:
    assert {"Pod", "Service", "EndpointSlice", "Node", "ConfigMap", "Secret"} <= {kind.kind for kind in MODELLED}


def test_an_empty_pod_is_usable() -> None:
    pod = msgspec.convert({}, models.Pod)
    assert pod.metadata.name == ""
    assert pod.spec.containers == ()
    assert pod.status.phase is None


def test_names_follow_the_json_names() -> None:
    pod = msgspec.convert({"spec": {"hostPID": True}, "status": {"podIPs": [{"ip": "10.0.0.1"}]}}, models.Pod)
    assert pod.spec.host_pid
    assert pod.status.pod_ips[0].ip == "10.0.0.1"


def test_facts_know_the_patch_keys() -> None:
    assert definition("io.k8s.api.core.v1.PodSpec").fields["containers"].merge_key == "name"
    ports = definition("io.k8s.api.core.v1.Container").fields["ports"]
    assert ports.list_map_keys == ("containerPort", "protocol")


def test_generated_files_are_up_to_date() -> None:
    pytest.importorskip("kubernetes_validate")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/generate_api"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
