"""YAML that is more than JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from podhost.apiserver.yaml_loader import JsonLoader


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("{1: a, true: b, 1.5: c, 8080.0: d, -2: e, .inf: f, -.inf: g, .nan: h}", {
            "1": "a", "true": "b", "1.5": "c", "8080": "d", "-2": "e", ".inf": "f", "-.inf": "g", ".nan": "h",
        }),
        ("a: &x {1: b}\nc: {<<: *x, 2: d}", {"a": {"1": "b"}, "c": {"1": "b", "2": "d"}}),
        ("{2020-01-01: 2020-01-02}", {"2020-01-01": "2020-01-02"}),
        ("[12:30:45, 22:22, 1:2.5, 0777, 1_000, yes, ~]", ["12:30:45", "22:22", "1:2.5", 511, 1000, True, None]),
        ("a: !!timestamp 2020-01-02", {"a": "2020-01-02"}),
        ("a: !!binary aGVsbG8=", {"a": "hello"}),
        ("!!set {a, b}", {"a": None, "b": None}),
        ("!!omap [a: 1]", [{"a": 1}]),
        ("!!pairs [a: 1]", [{"a": 1}]),
    ],
)  # fmt: skip
def test_everything_is_read_as_json(text: str, document: Any) -> None:
    assert yaml.load(text, Loader=JsonLoader) == document
    json.dumps(document)


@pytest.mark.parametrize("text", ["{null: a}", "!!set [a]", "!!map [a]", "{!!str [a]: b}", "? [a]\n: b"])
def test_what_is_no_key_of_json_is_refused(text: str) -> None:
    with pytest.raises((ValueError, yaml.YAMLError)):
        yaml.load(text, Loader=JsonLoader)
