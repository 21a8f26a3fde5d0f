"""The store: versions, optimistic updates, history over restarts."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from harness.stores import KEY, pod, reopen
from podhost.aiokit import failpoint
from podhost.aiokit.clock import FakeClock
from podhost.errors import ConflictError, ExhaustedError, ExistsError, InvalidError, NotFoundError, UnavailableError
from podhost.store import GoneError, ObjectKey, Store, database
from podhost.store.database import SCHEMA_VERSION


def test_created_object_carries_the_next_version(store: Store) -> None:
    before = store.current_rv()
    assert store.create(KEY, pod())["metadata"]["resourceVersion"] == str(before + 1)
    assert store.get(KEY) == store.find(KEY)


def test_creating_twice_is_refused(store: Store) -> None:
    store.create(KEY, pod())
    with pytest.raises(ExistsError, match='pods "ns/a"'):
        store.create(KEY, pod())


def test_the_callers_document_stays_its_own(store: Store) -> None:
    mine = pod(spec={"x": [1]})
    store.create(KEY, mine)
    mine["spec"]["x"].append(2)
    assert store.get(KEY)["spec"] == {"x": [1]}


def test_update_with_an_old_version_conflicts(store: Store) -> None:
    old = store.create(KEY, pod())
    store.update(KEY, pod(spec=1))
    with pytest.raises(ConflictError):
        store.update(KEY, pod(spec=2), expected_rv=old["metadata"]["resourceVersion"])


def test_update_that_changes_nothing_keeps_the_version(store: Store) -> None:
    old = store.create(KEY, pod(spec=1))
    assert store.update(KEY, pod(spec=1)) == old


def test_mutate_works_on_a_copy_and_none_changes_nothing(store: Store) -> None:
    old = store.create(KEY, pod(spec={"x": 1}))

    def spoil(obj: dict[str, Any]) -> None:
        obj["spec"]["x"] = 2

    assert store.mutate(KEY, spoil) == old
    assert old["spec"] == {"x": 1}
    assert store.mutate(KEY, lambda obj: {**obj, "spec": 3})["spec"] == 3


def test_delete_checks_uid_and_version_and_returns_the_last_state(store: Store) -> None:
    store.create(KEY, pod(spec=1))
    with pytest.raises(ConflictError, match="uid"):
        store.delete(KEY, expected_uid="other")
    with pytest.raises(ConflictError, match="version"):
        store.delete(KEY, expected_rv="1")
    gone = store.delete(KEY, expected_uid="uid-a")
    assert gone["spec"] == 1
    assert gone["metadata"]["resourceVersion"] == str(store.current_rv())
    with pytest.raises(NotFoundError):
        store.get(KEY)


def test_list_is_sorted_and_can_be_limited_to_a_namespace(store: Store) -> None:
    for namespace, name in (("z", "a"), ("b", "z"), ("b", "a")):
        store.create(ObjectKey("pods", namespace, name), pod(name, namespace))
    names = [f"{o['metadata']['namespace']}/{o['metadata']['name']}" for o in store.list("pods")[0]]
    assert names == ["b/a", "b/z", "z/a"]
    assert [o["metadata"]["name"] for o in store.list("pods", "b")[0]] == ["a", "z"]


def test_versions_skip_ahead_at_each_start(store: Store, path: Path) -> None:
    store.create(KEY, pod())
    last = store.current_rv()
    again = reopen(store, path)
    assert again.current_rv() >= last + 1000
    again.close()


def test_past_states_can_be_listed_until_their_history_is_compacted(path: Path) -> None:
    store = Store(path, FakeClock(), history_limit=40)
    states: dict[int, list[dict[str, Any]]] = {}
    for turn in range(60):
        key = ObjectKey("pods", f"ns{turn % 2}", f"p{turn % 5}")
        if store.find(key) is None:
            store.create(key, pod(key.name, key.namespace))
        elif turn % 3:
            store.update(key, pod(key.name, key.namespace, turn=turn))
        else:
            store.delete(key)
        states[store.current_rv()] = store.list("pods")[0]
        store.create(ObjectKey("other", "", f"x{turn}"), pod(f"x{turn}", ""))
    known = {rv: state for rv, state in states.items() if rv > store.current_rv() - 40}
    assert len(known) > 15
    for rv, state in known.items():
        assert store.list_at("pods", None, rv) == state
        assert store.list_at("pods", "ns1", rv) == [obj for obj in state if obj["metadata"]["namespace"] == "ns1"]
    with pytest.raises(GoneError):
        store.list_at("pods", None, min(states))
    store.close()


def test_full_disk_refuses_the_write_and_memory_stays_as_the_disk_is(store: Store, path: Path) -> None:
    store.create(KEY, pod(spec=1))
    version = store.current_rv()
    failpoint.set("store.write", "error:ENOSPC")
    try:
        with pytest.raises(ExhaustedError, match="no space left"):
            store.create(ObjectKey("pods", "ns", "b"), pod("b"))
        with pytest.raises(ExhaustedError, match="no space left"):
            store.update(KEY, pod(spec=2))
        with pytest.raises(ExhaustedError, match="no space left"):
            store.delete(KEY)
    finally:
        failpoint.clear()
    assert store.current_rv() == version
    assert store.get(KEY)["spec"] == 1
    again = reopen(store, path)
    assert [o["spec"] for o in again.list("pods")[0]] == [1]
    again.close()


def test_really_full_database_recovers_when_there_is_space_again(store: Store) -> None:
    connection = store._database._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 1}").fetchall()

    def fill() -> None:
        for number in range(100):
            store.create(ObjectKey("pods", "ns", f"p{number}"), pod(f"p{number}", spec="x" * 5000))

    with pytest.raises(ExhaustedError):
        fill()
    count = len(store.list("pods")[0])
    connection.execute("PRAGMA max_page_count = 1000000").fetchall()
    store.create(ObjectKey("pods", "ns", "after"), pod("after"))
    assert len(store.list("pods")[0]) == count + 1
    assert connection.execute("SELECT count(*) FROM objects").fetchone()[0] == count + 1


def test_database_of_a_newer_podhost_is_refused(store: Store, path: Path) -> None:
    store.close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(InvalidError, match="newer podhost"):
        Store(path, FakeClock())


def test_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(InvalidError, match="file is not a database; restore it"):
        Store(path, FakeClock())


def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No such file"):
        Store(tmp_path / "absent" / "store.db", FakeClock())


def test_one_broken_record_does_not_stop_the_others(store: Store, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.create(KEY, pod())
    store.create(ObjectKey("pods", "ns", "b"), pod("b"))
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE objects SET doc = x'00' WHERE name = 'a'")
    connection.close()
    for on_disk in ((), ("pods",)):
        caplog.clear()
        again = Store(path, FakeClock(), on_disk=on_disk)
        assert [o["metadata"]["name"] for o in again.list("pods")[0]] == ["b"]
        assert again.find(KEY) is None
        assert 'cannot read pods "ns/a"' in caplog.text
        again.close()


def test_objects_on_disk_are_nowhere_else(path: Path) -> None:
    store = Store(path, FakeClock(), on_disk=("pods",))
    for number in range(3):
        store.create(ObjectKey("pods", "ns", f"p{number}"), pod(f"p{number}"))
    outside = sqlite3.connect(path, isolation_level=None)
    outside.execute("DELETE FROM objects WHERE name = 'p1'")
    outside.close()
    assert [o["metadata"]["name"] for o in store.scan("pods")] == ["p0", "p2"]
    assert store.count("pods") == 2
    assert store.find(ObjectKey("pods", "ns", "p1")) is None
    store.close()


def test_a_database_that_cannot_be_read_is_unavailable(path: Path) -> None:
    store = Store(path, FakeClock(), on_disk=("pods",))
    store.close()
    with pytest.raises(UnavailableError, match="cannot read the store"):
        store.list("pods")


def test_objects_are_counted(store: Store) -> None:
    for number in range(3):
        store.create(ObjectKey("pods", f"ns{number}", "a"), pod("a", f"ns{number}"))
    store.delete(ObjectKey("pods", "ns1", "a"))
    assert store.count("pods") == 2
    assert store.count("nothing") == 0


def test_file_is_private(store: Store, path: Path) -> None:
    store.create(KEY, pod())
    assert {p.stat().st_mode & 0o777 for p in path.parent.iterdir()} == {0o600}


async def test_checkpoints_run_beside_the_writes(store: Store, path: Path) -> None:
    store.create(KEY, pod(spec=0))
    for number in range(1, 1200):
        store.update(KEY, pod(spec=number))
    checkpoint = store._database._checkpoint
    assert checkpoint is not None
    await checkpoint
    assert path.stat().st_size > 0


async def test_write_ahead_log_does_not_grow_for_ever_while_writes_go_on(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_CHECKPOINT_EVERY", 100)
    monkeypatch.setattr(database, "_LOG_LIMIT_PAGES", 100)
    store.create(KEY, pod())
    sizes = []
    log = path.with_name(f"{path.name}-wal")
    for number in range(2000):
        store.update(KEY, pod(number=number, text="x" * 4000))
        if number % 100 == 50 and store._database._checkpoint is not None:
            await store._database._checkpoint  # Always amid writes, never at their end.
            sizes.append(log.stat().st_size)
    # How much comes between two checkpoints depends on when their thread runs; all of it is 45 MB.
    assert len(sizes) > 10
    assert log.stat().st_size < 8e6, sizes
