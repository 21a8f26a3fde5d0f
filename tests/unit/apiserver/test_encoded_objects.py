"""JSON of objects, kept within bounds."""

from __future__ import annotations

from typing import Any

import msgspec

from podhost.apiserver.encoded_objects import EncodedObjects


def config(name: str, version: int, text: str = "") -> dict[str, Any]:
    return {"apiVersion": "v1", "metadata": {"uid": name, "resourceVersion": str(version)}, "data": {"t": text}}


def decoded(cache: EncodedObjects, *objects: dict[str, Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(cache.encode_all(objects)))


def test_another_version_is_encoded_anew() -> None:
    cache = EncodedObjects()
    for version in (1, 2, 2):
        objects = [config("a", version, str(version)), {"metadata": {}, "data": {"no": "uid"}}]
        assert decoded(cache, *objects) == objects


def test_the_oldest_go_when_it_is_too_much() -> None:
    cache = EncodedObjects(limit_bytes=1000)
    objects = [config(f"o{number}", 1, "x" * 200) for number in range(10)]
    assert decoded(cache, *objects) == objects
    assert len(cache._known) == 3
    assert cache._size_bytes == sum(len(text) for _, text in cache._known.values()) <= 1000


def test_an_older_version_is_not_kept() -> None:
    cache = EncodedObjects()
    for version in range(5):
        decoded(cache, config("a", version, "x" * 200))
    assert len(cache._known) == 1
    assert cache._size_bytes == len(msgspec.json.encode(config("a", 4, "x" * 200)))


def test_deleted_objects_are_forgotten_in_every_version() -> None:
    cache = EncodedObjects()
    decoded(cache, config("a", 1), {**config("a", 1), "apiVersion": "other/v1"}, config("b", 1))
    cache.forget(config("a", 1))
    cache.forget(config("never seen", 1))
    assert [uid for uid, _ in cache._known] == ["b"]
    assert cache._size_bytes == len(msgspec.json.encode(config("b", 1)))
