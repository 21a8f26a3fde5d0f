"""The store: versions, optimistic updates, history over restarts."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from podhost.aiokit import failpoint
from podhost.aiokit.clock import FakeClock
from podhost.errors import ConflictError, ExhaustedError, ExistsError, InvalidError, NotFoundError, UnavailableError
from podhost.store import GoneError, ObjectKey, Store, WatchEvent, database
from podhost.store.database import SCHEMA_VERSION

KEY = ObjectKey("pods", "ns", "a")


def pod(name: str = "a", namespace: str = "ns", **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"}, **fields}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture(params=[(), ("pods",)], ids=["in memory", "on disk"])
def store(path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    opened = Store(path, FakeClock(), on_disk=request.param)
    yield opened
    opened.close()


def reopen(store: Store, path: Path, **options: Any) -> Store:
    store.close()
    return Store(path, FakeClock(), **options)


async def drain(store: Store, resource: str, since_rv: int, namespace: str | None = None) -> list[WatchEvent]:
    watch = store.watch(resource, namespace, since_rv)
    events: list[WatchEvent] = []
    store.create(ObjectKey(resource, namespace or "ns", "sentinel"), pod("sentinel", namespace or "ns"))
    async for event in watch:
        if event.object["metadata"]["name"] == "sentinel":
            break
        events.append(event)
    watch.close()
    return events


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


async def test_watch_sees_changes_in_order_with_what_was_before(store: Store) -> None:
    start = store.current_rv()
    store.create(KEY, pod(spec=1))
    store.update(KEY, pod(spec=2))
    store.delete(KEY)
    events = await drain(store, "pods", start)
    assert [(e.type, e.object["spec"], e.previous and e.previous["spec"]) for e in events] == [
        ("ADDED", 1, None),
        ("MODIFIED", 2, 1),
        ("DELETED", 2, 2),
    ]
    assert [e.rv for e in events] == [start + 1, start + 2, start + 3]


async def test_watch_resumes_after_a_restart(store: Store, path: Path) -> None:
    store.create(KEY, pod(spec=1))
    seen = store.current_rv()
    store.update(KEY, pod(spec=2))
    again = reopen(store, path)
    events = await drain(again, "pods", seen)
    assert [(e.type, e.object["spec"]) for e in events] == [("MODIFIED", 2)]
    assert events[0].previous is not None
    assert events[0].previous["spec"] == 1
    again.close()


async def test_watch_of_a_namespace_ignores_the_others(store: Store) -> None:
    start = store.current_rv()
    store.create(ObjectKey("pods", "other", "b"), pod("b", "other"))
    store.create(KEY, pod())
    events = await drain(store, "pods", start, "ns")
    assert [e.object["metadata"]["name"] for e in events] == ["a"]


async def test_replay_of_a_long_history_keeps_the_order_with_live_events(store: Store) -> None:
    start = store.current_rv()
    store.create(KEY, pod(spec=0))
    for number in range(1, 350):
        store.update(KEY, pod(spec=number))
    watch = store.watch("pods", None, start)
    seen = [(await anext(watch)).object["spec"]]
    store.update(KEY, pod(spec=350))
    while seen[-1] != 350:
        seen.append((await anext(watch)).object["spec"])
    assert seen == list(range(351))
    assert watch.idle
    watch.close()


async def test_compacted_history_is_gone_but_the_rest_knows_its_past(path: Path) -> None:
    store = Store(path, FakeClock(), history_limit=50)
    start = store.current_rv()
    store.create(KEY, pod(spec=0))
    for number in range(1, 200):
        store.update(KEY, pod(spec=number))
    with pytest.raises(GoneError, match="too old resource version"):
        store.watch("pods", None, start)
    oldest = int(sqlite3.connect(path).execute("SELECT value FROM meta WHERE key='compacted_rv'").fetchone()[0])
    events = await drain(store, "pods", oldest)
    assert 50 <= len(events) < 100
    assert all(e.previous and e.previous["spec"] == e.object["spec"] - 1 for e in events)
    store.close()


async def test_versions_that_were_never_given_out_are_gone(store: Store, path: Path) -> None:
    store.create(KEY, pod())
    last = store.current_rv()
    again = reopen(store, path)
    for unknown in (last + 1, again.current_rv() + 1):
        with pytest.raises(GoneError):
            again.watch("pods", None, unknown)
    again.watch("pods", None, last).close()
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


async def test_what_is_ready_comes_in_one_batch(store: Store) -> None:
    watch = store.watch("pods")
    for name in "abc":
        store.create(ObjectKey("pods", "ns", name), pod(name))
    assert [event.object["metadata"]["name"] for event in await watch.next_batch()] == ["a", "b", "c"]
    watch.close()
    assert await watch.next_batch() == []


async def test_slow_watcher_is_cut_off(path: Path) -> None:
    store = Store(path, FakeClock(), watch_capacity=3)
    watch = store.watch("pods")
    for number in range(5):
        store.create(ObjectKey("pods", "ns", f"p{number}"), pod(f"p{number}"))
    with pytest.raises(GoneError, match="too slow"):
        await anext(watch)
    with pytest.raises(StopAsyncIteration):
        await anext(watch)
    store.close()


async def test_closed_watch_ends(store: Store) -> None:
    watch = store.watch("pods")
    watch.close()
    watch.close()
    assert [event async for event in watch] == []


async def test_watch_with_progress_learns_of_versions_of_other_resources(store: Store) -> None:
    watch = store.watch("pods", progress=True)
    while watch.idle:
        store.create(ObjectKey("nodes", "", f"n{store.current_rv()}"), pod(f"n{store.current_rv()}", ""))
    event = await anext(watch)
    assert (event.type, event.rv) == ("BOOKMARK", store.current_rv())
    watch.close()


def test_subscribers_hear_of_each_change_in_order_also_of_their_own(store: Store) -> None:
    heard: list[tuple[str, Any]] = []

    def react(event: WatchEvent) -> None:
        heard.append((event.type, event.object.get("spec")))
        if event.type == "ADDED":
            store.update(KEY, pod(spec="mine"))

    late: list[str] = []
    undo = store.subscribe("pods", react)
    store.subscribe("pods", lambda event: late.append(event.type))
    store.create(KEY, pod(spec="first"))
    assert heard == [("ADDED", "first"), ("MODIFIED", "mine")]
    assert late == ["ADDED", "MODIFIED"]
    undo()
    undo()
    store.delete(KEY)
    assert len(heard) == 2


def test_failing_subscriber_stops_neither_the_write_nor_the_others(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: WatchEvent) -> None:
        raise RuntimeError("broken")

    heard: list[str] = []
    store.subscribe("pods", fail)
    store.subscribe("pods", lambda event: heard.append(event.type))
    store.create(KEY, pod())
    assert heard == ["ADDED"]
    assert "broken" in caplog.text


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


_NAMES = st.sampled_from(["a", "b", "c"])
_NAMESPACES = st.sampled_from(["x", "y"])


class StoreMachine(RuleBasedStateMachine):
    """Random operations against a dictionary, with restarts; a mirror is kept from the history alone."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.store = self.open()
        self.model: dict[tuple[str, str], Any] = {}
        self.versions = [self.store.current_rv()]
        self.mirror: dict[tuple[str, str], Any] = {}
        self.mirror_rv = self.store.current_rv()

    def open(self) -> Store:
        return Store(self.directory / "db", FakeClock(), history_limit=1000)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.directory)

    @rule(namespace=_NAMESPACES, name=_NAMES, value=st.integers(0, 3))
    def create(self, namespace: str, name: str, value: int) -> None:
        key = ObjectKey("pods", namespace, name)
        if (namespace, name) in self.model:
            with pytest.raises(ExistsError):
                self.store.create(key, pod(name, namespace, spec=value))
        else:
            self.store.create(key, pod(name, namespace, spec=value))
            self.model[namespace, name] = value

    @rule(namespace=_NAMESPACES, name=_NAMES, value=st.integers(0, 3))
    def update(self, namespace: str, name: str, value: int) -> None:
        key = ObjectKey("pods", namespace, name)
        if (namespace, name) in self.model:
            self.store.update(key, pod(name, namespace, spec=value))
            self.model[namespace, name] = value
        else:
            with pytest.raises(NotFoundError):
                self.store.update(key, pod(name, namespace, spec=value))

    @rule(namespace=_NAMESPACES, name=_NAMES)
    def delete(self, namespace: str, name: str) -> None:
        if self.model.pop((namespace, name), None) is None:
            with pytest.raises(NotFoundError):
                self.store.delete(ObjectKey("pods", namespace, name))
        else:
            self.store.delete(ObjectKey("pods", namespace, name))

    @rule()
    def fail_a_write(self) -> None:
        failpoint.set("store.write", "error:EIO")
        try:
            with pytest.raises(UnavailableError):
                self.store.create(ObjectKey("pods", "z", "z"), pod("z", "z"))
        finally:
            failpoint.clear()

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self.open()

    @rule()
    def catch_up(self) -> None:
        for event in self.store._replay("pods", self.mirror_rv, 10_000):
            metadata = event.object["metadata"]
            place = metadata["namespace"], metadata["name"]
            assert self.mirror.get(place) == (None if event.previous is None else event.previous["spec"])
            if event.type == "DELETED":
                del self.mirror[place]
            else:
                self.mirror[place] = event.object["spec"]
            assert event.rv > self.mirror_rv
            self.mirror_rv = event.rv
        assert self.mirror == self.model

    @invariant()
    def store_equals_model(self) -> None:
        objects, rv = self.store.list("pods")
        found = {(o["metadata"]["namespace"], o["metadata"]["name"]): o["spec"] for o in objects}
        assert found == self.model
        assert rv >= self.versions[-1]
        self.versions.append(rv)


StoreMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestStoreMachine = StoreMachine.TestCase


class OnDiskMachine(StoreMachine):
    """The same, with objects that are not in memory."""

    def open(self) -> Store:
        return Store(self.directory / "db", FakeClock(), history_limit=1000, on_disk=("pods",))


OnDiskMachine.TestCase.settings = StoreMachine.TestCase.settings
TestOnDiskMachine = OnDiskMachine.TestCase
