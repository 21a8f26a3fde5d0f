"""Two forms of one storage: whoever works with the view sees no difference to a resource of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podhost.aiokit.clock import FakeClock
from podhost.api.kind import StoredForm
from podhost.errors import ConflictError, ExistsError, NotFoundError
from podhost.store import ObjectKey, Store, ViewedStore

RAW, SHOWN = ObjectKey("things", "ns", "a"), ObjectKey("shown", "ns", "a")


def show(obj: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": obj["metadata"], "big": obj["small"].upper()}


def hide(obj: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": obj["metadata"], "small": obj["big"].lower()}


def shown(word: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a", "namespace": "ns", "uid": "u", **metadata}, "big": word}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store.db", FakeClock())
    yield opened
    opened.close()


@pytest.fixture
def views(store: Store) -> ViewedStore:
    return ViewedStore(store, {"shown": StoredForm("things", show, hide)})


def test_what_is_written_in_one_form_is_read_in_both(store: Store, views: ViewedStore) -> None:
    assert views.find(SHOWN) is None
    created = views.create(SHOWN, shown("ONE"))
    assert created["big"] == "ONE"
    assert store.get(RAW)["small"] == "one"
    assert views.find(RAW) == store.get(RAW)
    with pytest.raises(ExistsError):
        views.create(SHOWN, shown("ONE"))
    with pytest.raises(ConflictError):
        views.update(SHOWN, shown("TWO"), expected_rv="1")
    before = views.current_rv()
    updated = views.update(SHOWN, shown("TWO"), expected_rv=created["metadata"]["resourceVersion"])
    assert updated["metadata"]["resourceVersion"] == str(views.current_rv())
    assert views.list("shown")[0] == [updated]
    assert views.list("shown", "elsewhere")[0] == []
    assert [each["big"] for each in views.list_at("shown", "ns", before)] == ["ONE"]
    assert views.update(SHOWN, shown("TWO")) == updated, "what is the same keeps its version"
    assert views.delete(SHOWN)["big"] == "TWO"
    assert store.find(RAW) is None
    with pytest.raises(NotFoundError):
        views.delete(SHOWN)


async def test_a_watch_of_the_view_sees_every_change_and_shares_what_was_rendered(
    store: Store, views: ViewedStore
) -> None:
    start = store.current_rv()
    live = views.watch("shown", "ns")
    store.create(RAW, {"metadata": {"name": "a", "namespace": "ns", "uid": "u"}, "small": "one"})
    store.mutate(RAW, lambda obj: obj | {"small": "two"})
    views.delete(SHOWN)
    replayed = views.watch("shown", "ns", start)
    for watch in (live, replayed):
        events = [event for _ in range(3) for event in (await watch.next_batch() if not watch.idle else [])]
        assert [(event.type, event.object["big"]) for event in events] == [
            ("ADDED", "ONE"),
            ("MODIFIED", "TWO"),
            ("DELETED", "TWO"),
        ]
        assert events[1].previous is not None
        assert events[1].previous["big"] == "ONE"
        watch.close()
        assert await watch.next_batch() == []
