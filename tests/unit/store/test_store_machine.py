"""Any order of writes, restarts and watches, against a model in memory."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from harness.stores import pod
from podhost.aiokit import failpoint
from podhost.aiokit.clock import FakeClock
from podhost.errors import ExistsError, NotFoundError, UnavailableError
from podhost.store import ObjectKey, Store

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
