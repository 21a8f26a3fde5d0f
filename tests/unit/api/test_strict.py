"""Unknown and repeated fields of a JSON text."""

from __future__ import annotations

import pytest

from podhost.api.strict import find_strict_problems, has_duplicates

POD = "io.k8s.api.core.v1.Pod"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'{"a": {"b": 1}, "c": [{"b": 1}, {"b": 2}]}', False),
        (b'{"a": 1, "a": 1}', True),
        (b'{"x": [{"a": 1, "b": 2, "a": 3}]}', True),
        (b"{}", False),
    ],
)
def test_keys_that_are_there_twice_are_seen(text: bytes, found: bool) -> None:
    assert has_duplicates(text) == found


def test_problems_come_in_the_order_of_the_text() -> None:
    text = b"""{"kind": "Pod", "spec": {"unknown": 1, "unknown": 2, "hostname": "a", "hostname": "b",
        "containers": [{"name": "a", "image": "x", "image": "y", "foo": {}}],
        "nodeSelector": {"a": "1", "a": "2"}}}"""
    assert find_strict_problems(text, POD) == [
        'unknown field "spec.unknown"',
        'duplicate field "spec.hostname"',
        'duplicate field "spec.containers[0].image"',
        'unknown field "spec.containers[0].foo"',
        'duplicate field "spec.nodeSelector.a"',
    ]
