"""A store on a disk that fills up again and again: it can always be opened, and what is in it deleted."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.aiokit.clock import SystemClock
from podhost.errors import ExhaustedError
from podhost.store.keys import ObjectKey
from podhost.store.store import Store


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "podhost-test", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def _fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return ballast
    raise AssertionError("the disk has no end")


def _create(store: Store, name: str, size: int) -> None:
    document = {"metadata": {"name": name, "namespace": "ns", "uid": name}, "x": "x" * size}
    store.create(ObjectKey("pods", "ns", name), document)


def _create_until_full(store: Store, prefix: str) -> None:
    """Also the last pages of the write-ahead log are used up then."""
    for number in range(1000):
        try:
            _create(store, f"{prefix}{number}", 5000)
        except ExhaustedError:
            return
    raise AssertionError("the disk has no end")


@pytest.mark.parametrize("ends_well", [True, False], ids=["stopped", "killed"])
def test_each_time_that_it_is_full_it_opens_and_deletes(disk: Path, ends_well: bool) -> None:
    path = disk / "objects.db"
    store = Store(path, SystemClock())
    _create(store, "first", 10)
    for turn in "abc":
        ballast = _fill(disk)
        _create_until_full(store, turn)
        before = store
        if ends_well:
            before.close()
            _fill(disk)  # with what the end has given back
        store = Store(path, SystemClock())
        (pod, *_) = store.list("pods")[0]
        store.delete(ObjectKey("pods", "ns", pod["metadata"]["name"]))
        if not ends_well:
            before.close()
        ballast.unlink()
        _create(store, f"{turn}-after", 10)
    store.close()
