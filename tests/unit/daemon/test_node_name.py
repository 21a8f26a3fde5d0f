"""The node's name: kept, and given up only on purpose."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.aiokit.clock import SystemClock
from podhost.daemon.node_name import keep_node_name
from podhost.daemon.settings import parse_settings
from podhost.store.keys import ObjectKey
from podhost.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.db", SystemClock())
    yield store
    store.close()


def find_name(root: Path, *flags: str) -> str:
    return parse_settings(["--data-root", str(root), "--instance", "one", *flags]).node_name


def test_name_of_the_first_start_stays_whatever_the_host_is_called_later(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "First_Host")
    assert find_name(tmp_path) == "first-host"
    (tmp_path / "one").mkdir()
    keep_node_name(store, "first-host", tmp_path / "one" / "node-name")
    monkeypatch.setattr(socket, "gethostname", lambda: "second")
    assert find_name(tmp_path) == "first-host"
    assert find_name(tmp_path, "--node-name", "third") == "third"


def test_node_of_a_name_that_was_given_up_goes_and_others_stay(store: Store, tmp_path: Path) -> None:
    for name in ("old", "foreign"):
        store.create(ObjectKey("nodes", "", name), {"metadata": {"name": name, "uid": name}})
    for name in ("old", "old", "new", "new", "newer"):
        keep_node_name(store, name, tmp_path / "node-name")
    assert [node["metadata"]["name"] for node in store.list("nodes")[0]] == ["foreign"]
    assert (tmp_path / "node-name").read_text() == "newer\n"
