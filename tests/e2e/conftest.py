"""One daemon for the module-independent e2e tests; a namespace a test keeps them apart."""

from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.daemon import Daemon, running_daemon
from harness.images import ensure_example_images


@pytest.fixture(scope="session")
def image_store() -> Path:
    """The examples' images, built once a machine and kept between runs."""
    store = Path(os.environ.get("PODHOST_TEST_IMAGE_STORE", "/var/cache/podhost/test-image-store"))
    ensure_example_images(store)
    return store


@pytest.fixture(scope="session")
def daemon(image_store: Path) -> Iterator[Daemon]:
    with running_daemon(image_store, "--allowed-unsafe-sysctls=net.core.somax*") as running:
        yield running


@pytest.fixture
def namespace(daemon: Daemon) -> Iterator[str]:
    name = "e2e-" + uuid.uuid4().hex[:8]
    daemon.kubectl("create", "namespace", name)
    yield name
    daemon.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(autouse=True)
def client_garbage(request: pytest.FixtureRequest) -> Iterator[None]:
    """A client library's unclosed sockets are collected within the test that may leave some, not in any later one."""
    yield
    if any("ignore::ResourceWarning" in mark.args for mark in request.node.iter_markers("filterwarnings")):
        gc.collect()
