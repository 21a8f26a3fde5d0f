"""Sources of images, progress lines, and the answers of pull, load and build."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from podhost.cli.failure import HintedError
from podhost.cli.image import follow_progress, format_progress, image_path, image_rows, resolve_source


def make_tar(path: Path, member: str) -> Path:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo(member), io.BytesIO(b""))
    return path


def test_archives_are_recognised_by_their_content(tmp_path: Path) -> None:
    docker, oci = make_tar(tmp_path / "d.tar", "manifest.json"), make_tar(tmp_path / "o.tar", "./oci-layout")
    (tmp_path / "layout").mkdir()
    (tmp_path / "layout" / "oci-layout").write_text("{}")
    assert resolve_source(str(docker)) == f"docker-archive:{docker}"
    assert resolve_source(str(oci)) == f"oci-archive:{oci}"
    assert resolve_source(str(tmp_path / "layout")) == f"oci:{tmp_path / 'layout'}"


def test_paths_are_made_absolute_and_other_transports_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_source("oci:images:nginx-1") == f"oci:{tmp_path}/images:nginx-1"
    assert resolve_source("docker-daemon:nginx:latest") == "docker-daemon:nginx:latest"


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(HintedError, match=r"not an image archive \(no tar file"):
        resolve_source(str(tmp_path / "text"))
    with pytest.raises(HintedError, match="holds no image"):
        resolve_source(str(make_tar(tmp_path / "x.tar", "etc/passwd")))
    with pytest.raises(HintedError, match="no such file"):
        resolve_source(str(tmp_path / "none"))
    with pytest.raises(HintedError, match="neither oci-layout"):
        resolve_source(str(tmp_path))


def test_progress_shows_a_bar_when_the_size_is_known() -> None:
    progress = {
        "ref": "nginx",
        "phase": "downloading",
        "done_bytes": 38,
        "total_bytes": 76,
        "layers_done": 1,
        "layers_total": 3,
    }
    assert format_progress(progress, width=4) == "nginx downloading [##  ] 38 B of 76 B, layers 1/3".replace(",", "")
    assert format_progress({"ref": "nginx", "phase": "resolving"}) == "nginx resolving"


def test_answer_ends_with_the_image(capsys: pytest.CaptureFixture[str]) -> None:
    phases = [{"ref": "nginx", "phase": phase} for phase in ("downloading", "downloading", "unpacking")]
    lines = [json.dumps({"progress": phase}).encode() for phase in phases] + [b'{"image": {"id": "sha256:1"}}']
    assert follow_progress(iter(lines), "cannot pull 'nginx'") == {"id": "sha256:1"}
    assert capsys.readouterr().err == "nginx downloading\nnginx unpacking\n"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([b'{"error": {"message": "manifest unknown"}}'], "^cannot pull 'x': manifest unknown"),
        ([b'{"error": {"message": "cannot load the rest"}}'], "^cannot load the rest"),
        ([], "cannot pull 'x': the daemon ended the answer half-way"),
    ],
)
def test_failure_is_told_in_the_servers_words(lines: list[bytes], message: str) -> None:
    with pytest.raises(HintedError, match=message):
        follow_progress(iter(lines), "cannot pull 'x'")


def test_reference_is_one_path_segment() -> None:
    assert image_path("quay.io/a/b:1") == "/apis/podhost.dev/v1alpha1/images/quay.io%2Fa%2Fb%3A1"


@pytest.mark.parametrize("camel", [False, True])
def test_rows_leave_docker_hubs_prefix_out(camel: bool) -> None:
    names = ["docker.io/library/nginx:alpine", "docker.io/training/webapp:latest", "localhost:5000/x:1"]
    image = {"id": "sha256:" + "a" * 64, "repo_tags": names, "size_bytes": 1500, "created_at": "2026-11-23T16:00:00Z"}
    image["local_names"] = names[:1]
    if camel:
        keys = {
            "repo_tags": "repoTags",
            "size_bytes": "sizeBytes",
            "created_at": "createdAt",
            "local_names": "localNames",
        }
        image = {keys.get(key, key): value for key, value in image.items()}
    rows = list(image_rows(image, 1795449600 + 60))
    assert [row[:2] for row in rows] == [("nginx", "alpine"), ("training/webapp", "latest"), ("localhost:5000/x", "1")]
    assert rows[0][2:] == ("aaaaaaaaaaaa", "60s ago", "1.5 kB", "yes")
