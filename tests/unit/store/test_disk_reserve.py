"""Room that is set aside is there for deletions and for a start, and for nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from podhost.aiokit import failpoint
from podhost.aiokit.clock import SystemClock
from podhost.errors import ExhaustedError
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


def test_a_start_may_use_it(tmp_path: Path, released: list[str]) -> None:
    Store(tmp_path / "objects.db", SystemClock()).close()
    failpoint.set("store.write", "error:ENOSPC")
    Store(tmp_path / "objects.db", SystemClock()).close()
    assert released == ["released"]
