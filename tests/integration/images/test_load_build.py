"""Importing from every transport, and building on what is in the store, without any network."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from podhost.errors import InvalidError, NotFoundError, UnavailableError
from podhost.images.service import ImageStore
from podhost.images.settings import ImageSettings
from registry import Registry, make_tar


async def _skopeo(*arguments: str) -> None:
    argv = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", *arguments]
    await asyncio.to_thread(subprocess.run, argv, check=True)


@pytest.fixture
def source(registry: Registry) -> str:
    registry.push_image("load/source", "1", [make_tar(("a", b"a")), make_tar(("b", b"b"))], config={"Cmd": ["/a"]})
    return f"docker://{registry.host}/load/source:1"


async def test_docker_archive_with_several_images_loads_all_names_as_local(
    store: ImageStore, source: str, tmp_path: Path
) -> None:
    path = tmp_path / "images.tar"
    await _skopeo(source, f"docker-archive:{path}:first:1", "--additional-tag", "example.org/second:2")
    (image,) = await store.load_image(str(path))
    assert set(image.repo_tags) == {"docker.io/library/first:1", "example.org/second:2"}
    assert image.local_names == image.repo_tags
    assert image.repo_digests == ()
    assert image.config.cmd == ("/a",)
    (renamed,) = await store.load_image(f"docker-archive:{path}", name="third")
    assert renamed.id == image.id
    assert store.image_status("third") is not None


async def test_archive_may_mix_compressed_and_plain_layers(store: ImageStore, tmp_path: Path) -> None:
    """As some builders write them; nothing in a docker-archive says which layer is which."""
    layers = [make_tar(("plain", b"p")), make_tar(("zipped", b"z")), make_tar(("plain2", b"q"))]
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    names = [f"{index}/layer.tar" for index in range(3)]
    manifest = [{"Config": "config.json", "RepoTags": ["mixed:1"], "Layers": names}]
    files = [("config.json", json.dumps(config).encode()), ("manifest.json", json.dumps(manifest).encode())]
    files += zip(names, (layers[0], gzip.compress(layers[1]), layers[2]), strict=True)
    (tmp_path / "mixed.tar").write_bytes(make_tar(*files))
    (image,) = await store.load_image(f"docker-archive:{tmp_path}/mixed.tar")
    top, middle, base = await store.ensure_layers(image.id)
    assert (top / "plain2").read_bytes() == b"q"
    assert (middle / "zipped").read_bytes() == b"z"
    assert (base / "plain").read_bytes() == b"p"


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "dir"])
async def test_layouts_and_directories_are_loaded(
    store: ImageStore, source: str, tmp_path: Path, transport: str
) -> None:
    path = tmp_path / "image"
    await _skopeo(source, f"{transport}:{path}" + ("" if transport == "dir" else ":example.org/x:5"))
    (image,) = await store.load_image(f"{transport}:{path}", name="given" if transport == "dir" else None)
    assert image.repo_tags == (("docker.io/library/given:latest",) if transport == "dir" else ("example.org/x:5",))
    (again,) = await store.load_image(str(path))
    assert again.id == image.id


async def test_a_layer_of_another_size_than_the_manifest_says_is_refused(
    store: ImageStore, source: str, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    await _skopeo(source, f"oci:{path}:x:1")
    index = json.loads((path / "index.json").read_bytes())
    (entry,) = index["manifests"]
    manifest = json.loads((path / "blobs/sha256" / entry["digest"].removeprefix("sha256:")).read_bytes())
    manifest["layers"][0]["size"] += 1
    lying = json.dumps(manifest).encode()
    digest = hashlib.sha256(lying).hexdigest()
    (path / "blobs/sha256" / digest).write_bytes(lying)
    entry |= {"digest": f"sha256:{digest}", "size": len(lying)}
    (path / "index.json").write_text(json.dumps(index))
    with pytest.raises(InvalidError, match=r"it has \d+ bytes, the manifest says \d+"):
        await store.load_image(f"oci:{path}")
    assert store.image_status("x:1") is None


async def test_image_of_a_containers_storage_is_loaded_under_its_name(
    store: ImageStore, source: str, tmp_path: Path
) -> None:
    storage = f"containers-storage:[vfs@{tmp_path}/root+{tmp_path}/run]example.org/stored:1"
    await _skopeo(source, storage)
    (image,) = await store.load_image(storage)
    assert image.local_names == ("example.org/stored:1",)


async def test_layer_that_came_compressed_before_is_not_unpacked_again(
    store: ImageStore, registry: Registry, source: str, tmp_path: Path
) -> None:
    await store.pull_image(source.removeprefix("docker://"))
    snapshots = store.workspace.content.list_snapshots()
    await _skopeo(source, f"docker-archive:{tmp_path}/x.tar:x:1")
    await store.load_image(str(tmp_path / "x.tar"))
    assert store.workspace.content.list_snapshots() == snapshots


async def test_a_pull_takes_the_local_mark_away(store: ImageStore, registry: Registry, source: str) -> None:
    ref = source.removeprefix("docker://")
    image = await store.pull_image(ref)
    tagged = await store.tag_image(image.id, ref)
    assert tagged.local_names == (ref,)
    assert (await store.pull_image(ref)).local_names == ()


async def test_bad_sources_are_refused_with_their_reason(store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        await store.load_image(str(tmp_path / "absent.tar"))
    (tmp_path / "text").write_text("not an archive")
    with pytest.raises(InvalidError, match="cannot load"):
        await store.load_image(str(tmp_path / "text"))
    (tmp_path / "empty.tar").write_bytes(make_tar(("x", b"")))
    with pytest.raises(InvalidError, match="neither a docker-archive nor an oci-archive"):
        await store.load_image(str(tmp_path / "empty.tar"))
    broken = make_tar(("manifest.json", json.dumps([{"Config": "c", "Layers": [], "RepoTags": []}]).encode()))
    (tmp_path / "broken.tar").write_bytes(broken)
    with pytest.raises(InvalidError, match=r"docker-archive:.*broken\.tar"):
        await store.load_image(str(tmp_path / "broken.tar"))
    assert list(store.workspace.content.staging_dir.iterdir()) == []


async def test_build_stands_on_images_of_the_store_and_needs_no_network(
    store: ImageStore, settings: ImageSettings, source: str, tmp_path: Path
) -> None:
    base = await store.pull_image(source.removeprefix("docker://"))
    await store.tag_image(base.id, "mybase")
    context = tmp_path / "context"
    context.mkdir()
    (context / "data").write_text("hello")
    (context / "Containerfile").write_text("FROM mybase\nCOPY data /data\nENV KEY=value\n")
    lines: list[bytes] = []
    image = await store.build_image(context, name="built:1", output=lines.append)
    assert image.local_names == ("docker.io/library/built:1",)
    assert "KEY=value" in image.config.env
    assert image.config.cmd == ("/a",)
    assert any(b"COPY" in line for line in lines)
    top = (await store.ensure_layers(image.id))[0]
    assert (top / "data").read_text() == "hello"
    assert len(await store.ensure_layers(image.id)) == 3
    (context / "Containerfile").write_text("FROM built:1\nRUN /no/such/program\n")
    with pytest.raises(InvalidError, match=r'cannot build "docker\.io/library/bad:latest"'):
        await store.build_image(context, name="bad")
    assert str(settings.root) not in Path("/proc/self/mountinfo").read_text()
    (context / "Containerfile").unlink()
    with pytest.raises(NotFoundError, match="no Containerfile or Dockerfile"):
        await store.build_image(context, name="bad")


async def test_build_without_buildah_says_what_to_install(settings: ImageSettings, tmp_path: Path) -> None:
    store = ImageStore(
        ImageSettings(root=settings.root, instance="x", layers_dir=settings.layers_dir, buildah="no-such-buildah")
    )
    await store.open()
    with pytest.raises(UnavailableError, match="install the package buildah"):
        await store.build_image(tmp_path, name="x")
    await store.close()
