"""What volumes take up is what is the pod's."""

from __future__ import annotations

from pathlib import Path

import pytest

from podhost.volumes import measure
from podhost.volumes.plan import EMPTY_DIR_PLUGIN, HOST_PATH_PLUGIN, IMAGE_PLUGIN, LOCAL_PLUGIN


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    for plugin, name in ((EMPTY_DIR_PLUGIN, "e"), (HOST_PATH_PLUGIN, "h"), (IMAGE_PLUGIN, "i"), (LOCAL_PLUGIN, "l")):
        directory = tmp_path / plugin / name
        directory.mkdir(parents=True)
        (directory / "file").write_bytes(bytes(100_000))
    return tmp_path


def test_views_of_the_host_and_images_are_not_walked(volumes: Path) -> None:
    found = measure.measure_volumes(volumes, {"e", "h", "i", "l"}, {})
    assert set(found) == {"e"}
    assert found["e"].used.used_bytes >= 100_000


def test_a_claim_is_measured_where_the_daemon_sees_it(volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: dict[str, Path] = {}
    real = measure.measure_claim
    monkeypatch.setattr(measure, "measure_claim", lambda path: looked_at.setdefault(path.name, path) and real(path))
    elsewhere = volumes / "elsewhere"
    elsewhere.mkdir()
    found = measure.measure_volumes(volumes, {"l", "elsewhere"}, {"l": volumes, "elsewhere": elsewhere})
    assert looked_at == {"l": volumes / LOCAL_PLUGIN / "l", "elsewhere": elsewhere}
    assert found["l"] == real(volumes)  # all that the file system holds
