"""What the store keeps is bounded in bytes, not only in changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from podhost.aiokit.clock import SystemClock
from podhost.store.database import Change, Database
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import GoneError

KEY = ObjectKey("configmaps", "ns", "big")
_MIB = 1 << 20


def test_large_objects_that_change_all_the_time_take_no_more_than_a_bounded_part_of_the_disk(tmp_path: Path) -> None:
    store = Store(tmp_path / "objects.db", SystemClock())
    first = store.create(KEY, {"metadata": {"name": "big", "namespace": "ns"}, "data": {"a": ""}})
    for number in range(250):
        store.mutate(KEY, lambda old, n=number: {**old, "data": {"a": f"{n}" + "x" * _MIB}})  # type: ignore[misc]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 200 * _MIB
    with pytest.raises(GoneError):
        store.watch("configmaps", since_rv=int(first["metadata"]["resourceVersion"]))
    assert store.get(KEY)["data"]["a"].startswith("249")
    store.close()


def put(database: Database, rv: int, doc: bytes, previous_rv: int | None) -> None:
    kind = "ADDED" if previous_rv is None else "MODIFIED"
    database.write(Change(key=KEY, type=kind, rv=rv, at_ns=0, doc=doc, previous_rv=previous_rv))


def test_history_is_counted_alike_by_the_writer_and_by_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "objects.db"
    database = Database(path, history_limit=100, history_limit_bytes=8 * _MIB)
    for rv in range(1, 41):
        put(database, rv, b"x" * _MIB, rv - 1 or None)
    counted, floor = database._history_bytes, database.compacted_rv
    rows = database.history("configmaps", floor, 100)
    assert [row.rv for row in rows] == list(range(floor + 1, 41))
    assert all(row.previous == b"x" * _MIB for row in rows)
    database.close()
    again = Database(path, history_limit=100, history_limit_bytes=8 * _MIB)
    assert again._history_bytes == counted <= 11 * _MIB
    assert again.compacted_rv == floor >= 29
    again.close()


def test_one_change_larger_than_all_that_is_kept_stays(tmp_path: Path) -> None:
    database = Database(tmp_path / "objects.db", history_limit=100, history_limit_bytes=_MIB)
    put(database, 1, b"x" * 4 * _MIB, None)
    put(database, 2, b"y" * 4 * _MIB, 1)
    assert [row.rv for row in database.history("configmaps", 1, 10)] == [2]
    database.close()
