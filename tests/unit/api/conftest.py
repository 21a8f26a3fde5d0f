"""Documents for tests of the API, and a generator of structurally valid ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from podhost.api.schema import Type, definition

Document = dict[str, Any]
MakePod = Callable[..., Document]
MakeDocuments = Callable[[str], st.SearchStrategy[Document]]

_POD: Document = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "mc1", "namespace": "default"},
    "spec": {
        "containers": [
            {"name": "1st", "image": "nginx", "volumeMounts": [{"name": "html", "mountPath": "/html"}]},
            {"name": "2nd", "image": "debian:12", "command": ["sleep", "1"]},
        ],
        "volumes": [{"name": "html", "emptyDir": {}}],
    },
}


def _make_pod(**spec: Any) -> Document:
    document = copy.deepcopy(_POD)
    document["spec"].update(spec)
    return document


@pytest.fixture(scope="session")
def make_pod() -> MakePod:
    """The article's first pod, with fields of its spec replaced."""
    return _make_pod


_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.sampled_from(["", "a", "A_b", "..", "Always", "x" * 64, "10.0.0.1", "é"]),
    "bool": st.booleans(),
    "int32": st.sampled_from([-1, 0, 1, 80, 70000, 2**31 - 1]),
    "int64": st.sampled_from([-1, 0, 1, 2**40]),
    "float64": st.just(1.5),
    "bytes": st.sampled_from(["", "YQ=="]),
    "quantity": st.sampled_from(["-1", "0", "1", "100m", "64Mi"]),
    "intorstring": st.sampled_from([0, 80, "http", "-"]),
    "time": st.just("2026-01-02T03:04:05Z"),
    "microtime": st.just("2026-01-02T03:04:05.000000Z"),
    "any": st.just({}),
}


def _values(kind: Type, depth: int) -> st.SearchStrategy[Any]:
    if kind.kind == "ref":
        return _documents(kind.ref, depth - 1)
    if kind.item is not None and kind.kind == "list":
        return st.lists(_values(kind.item, depth), max_size=2)
    if kind.item is not None:
        return st.dictionaries(st.sampled_from(["a", "A/b/c", "cpu", "memory"]), _values(kind.item, depth), max_size=2)
    return _SCALARS[kind.kind]


@st.composite
def _documents(draw: st.DrawFn, name: str, depth: int = 5) -> Document:
    fields = definition(name).fields
    if depth <= 0 or not fields:
        return {}
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=5))
    return {key: draw(_values(fields[key].type, depth)) for key in chosen}


@pytest.fixture(scope="session")
def documents_of() -> MakeDocuments:
    """Documents of a definition with right types and arbitrary content."""
    return _documents
