"""Odd manifests and what a cluster says of them: each message was compared with Kubernetes' validation source.

What the allocator of Services and admission say is not in here: they know more than one object.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from podhost.api.kind import Kind, validate, validate_update
from podhost.api.kinds import KINDS
from podhost.api.structure import check_structure

Document = dict[str, Any]
ODD = yaml.safe_load(Path(__file__).with_name("odd_manifests.yaml").read_text())
CASES = [pytest.param(kind, case, id=f"{kind}-{number}") for kind in ODD for number, case in enumerate(ODD[kind])]


def find_kind(name: str) -> Kind:
    return next(kind for kind in KINDS if kind.kind == name)


def make(kind: Kind, body: Document) -> Document:
    document = {"apiVersion": kind.group_version, "kind": kind.kind, "metadata": {}, **copy.deepcopy(body)}
    document["metadata"] |= {"namespace": "default"} if kind.namespaced else {}
    document["metadata"].setdefault("name", "x")
    decoded = check_structure(document, kind.schema)
    assert not decoded.type_errors
    kind.prepare_create(decoded.document)
    kind.default(decoded.document)
    return decoded.document


def complain(kind: Kind, case: Document) -> list[str]:
    if "make" in case:
        return [error.message for error in validate(kind, make(kind, case["make"]))]
    old, new = make(kind, case["from"]), make(kind, case["to"])
    assert validate(kind, old) == []
    for each in (old, new):
        each["metadata"]["resourceVersion"] = "1"
    kind.prepare_update(new, old)
    return [error.message for error in validate_update(kind, new, old)]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_what_is_said_of_an_odd_manifest(name: str, case: Document) -> None:
    assert complain(find_kind(name), case) == case["says"]


def test_every_kind_of_the_list_is_tried_often() -> None:
    assert len(CASES) > 150
    assert all(any(case["says"] for case in cases) for cases in ODD.values())
