"""Room that is set aside is there for deletions and for nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from podhost.aiokit import failpoint
from podhost.aiokit.clock import SystemClock
from podhost.errors import ExhaustedError, UnavailableError
from podhost.store import database as database_module
from podhost.store.database import Database
from podhost.store.disk_reserve import DiskReserve
from podhost.store.keys import ObjectKey
from podhost.store.store import Store

KEY = ObjectKey("pods", "ns", "p")


def test_room_is_set_aside_once_and_given_back_once(tmp_path: Path) -> None:
    path = tmp_path / "reserve"
    reserve = DiskReserve(path, 1 << 16)
    reserve.ensure()
    reserve.ensure()
    assert path.stat().st_blocks * 512 >= 1 << 16
    assert reserve.release()
    assert not reserve.release()
    assert not path.exists()


def test_nothing_is_set_aside_where_there_is_little_room(tmp_path: Path) -> None:
    DiskReserve(tmp_path / "reserve", 1 << 60).ensure()
    assert not (tmp_path / "reserve").exists()


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The disk is full until the reserve is given back."""
    calls: list[str] = []

    def release(_: DiskReserve) -> bool:
        calls.append("released")
        failpoint.clear()
        return True

    monkeypatch.setattr(DiskReserve, "release", release)
    yield calls
    failpoint.clear()


def test_a_deletion_may_use_it_and_a_creation_may_not(tmp_path: Path, released: list[str]) -> None:
    store = Store(tmp_path / "objects.db", SystemClock())
    store.create(KEY, {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}})
    failpoint.set("store.write", "error:ENOSPC")
    with pytest.raises(ExhaustedError):
        store.create(replace(KEY, name="q"), {"metadata": {"name": "q", "namespace": "ns", "uid": "v"}})
    with pytest.raises(ExhaustedError):
        store.mutate(KEY, lambda pod: {**pod, "status": {"phase": "Running"}})
    assert released == []
    marked = store.mutate(KEY, lambda pod: {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "now"}})
    assert marked["metadata"]["deletionTimestamp"] == "now"
    failpoint.set("store.write", "error:ENOSPC")
    store.delete(KEY)
    assert released == ["released", "released"]
    store.close()


def test_a_start_needs_no_room_and_what_it_has_to_write_goes_with_the_first_change(tmp_path: Path) -> None:
    path = tmp_path / "objects.db"
    Store(path, SystemClock()).close()
    failpoint.set("store.write", "error:ENOSPC")
    try:
        store = Store(path, SystemClock())
    finally:
        failpoint.clear()
    started_rv = store.current_rv()
    store.create(KEY, {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}})
    store.delete(KEY)
    store.close()
    database = Database(path, history_limit=100)
    with sqlite3.connect(path) as connection:
        (opened,) = connection.execute("SELECT value FROM meta WHERE key = 'opened_rv'").fetchone()
    database.close()
    assert opened == started_rv


def test_a_start_opens_the_store_where_there_is_no_room_for_its_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "objects.db"
    store = Store(path, SystemClock())
    store.create(KEY, {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}})
    store.close()
    connect = database_module._connect

    def connect_without_room(path: Path, *, index_in_memory: bool) -> sqlite3.Connection:
        if not index_in_memory:
            raise UnavailableError("disk I/O error")
        return connect(path, index_in_memory=True)

    monkeypatch.setattr(database_module, "_connect", connect_without_room)
    again = Store(path, SystemClock())
    again.delete(KEY)
    assert not (tmp_path / "objects.db-shm").exists()
    for number in range(20):
        big = {"metadata": {"name": f"{number}", "namespace": "ns"}, "data": {"a": "x" * (2 << 20)}}
        again.create(replace(KEY, name=f"{number}"), big)
    assert (tmp_path / "objects.db-wal").stat().st_size < 48 << 20
    again.close()
    monkeypatch.undo()
    last = Store(path, SystemClock())
    assert last.find(KEY) is None
    assert last.count("pods") == 20
    last.close()
