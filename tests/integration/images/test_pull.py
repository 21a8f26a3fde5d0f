"""Pulling from a real registry on loopback: names, digests, credentials, and everything that goes wrong."""

from __future__ import annotations

import asyncio
import http.client
import json
import tarfile
from pathlib import Path

import pytest

from podhost.aiokit import failpoint
from podhost.cri.ids import ContainerId
from podhost.cri.images import AuthConfig, ImagePullError, PullProgress
from podhost.errors import ConflictError, NotFoundError
from podhost.images.service import ImageStore
from podhost.images.settings import ImageSettings
from podhost.images.snapshotter import OverlaySnapshotter
from registry import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    PASSWORD,
    USER,
    Registry,
    SpoilingProxy,
    digest_of,
    make_tar,
)

_LOWER = make_tar(("etc/name", b"lower"), ("etc/other", b"other"))
_UPPER = make_tar(("etc/name", b"upper"))


def _push(registry: Registry, name: str, *texts: bytes) -> str:
    return registry.push_image(name, "1", [make_tar(("file", text * 3000)) for text in texts])


def _leftovers(store: ImageStore) -> list[Path]:
    return list(store.workspace.content.staging_dir.iterdir())


async def test_pulled_image_has_its_names_digests_and_configuration(store: ImageStore, registry: Registry) -> None:
    config = {"Cmd": ["/bin/sh"], "Env": ["A=b"], "User": "7", "Volumes": {"/v": {}}, "ExposedPorts": {"80/tcp": {}}}
    digest = registry.push_image("named", "1", [_LOWER, _UPPER], config=config)
    ref = f"{registry.host}/named:1"
    seen: list[PullProgress] = []
    image = await store.pull_image(ref, progress=seen.append)
    assert image.repo_tags == (ref,)
    assert image.repo_digests == (f"{registry.host}/named@{digest}",)
    assert image.local_names == ()
    assert (image.config.cmd, image.config.env, image.config.user) == (("/bin/sh",), ("A=b",), "7")
    assert (image.config.volumes, image.config.exposed_ports) == (("/v",), ("80/tcp",))
    assert store.image_status(ref) is store.image_status(image.id) is store.image_status(image.repo_digests[0])
    assert store.list_images() == [image]
    assert [state.phase for state in seen][0] == "resolving"
    assert (seen[-1].phase, seen[-1].layers_done, seen[-1].layers_total) == ("done", 2, 2)
    assert _leftovers(store) == []


async def test_layers_stack_with_the_top_one_first(
    store: ImageStore, settings: ImageSettings, registry: Registry
) -> None:
    registry.push_image("stack", "1", [_LOWER, _UPPER])
    image = await store.pull_image(f"{registry.host}/stack:1")
    mount = await OverlaySnapshotter(store, settings).prepare(ContainerId("c"), image.id)
    assert [(path / "etc/name").read_bytes() for path in mount.lower_dirs] == [b"upper", b"lower"]


async def test_directories_that_a_layer_only_implies_look_as_in_the_layer_below(
    store: ImageStore, settings: ImageSettings, registry: Registry
) -> None:
    folder = tarfile.TarInfo("tmp")
    folder.type, folder.mode, folder.uid, folder.mtime = tarfile.DIRTYPE, 0o1777, 9, 77
    registry.push_image("implied", "1", [make_tar(folder), make_tar(("tmp/new", b"x"))])
    image = await store.pull_image(f"{registry.host}/implied:1")
    mount = await OverlaySnapshotter(store, settings).prepare(ContainerId("c"), image.id)
    info = (mount.lower_dirs[0] / "tmp").stat()
    assert (info.st_mode & 0o7777, info.st_uid, info.st_mtime) == (0o1777, 9, 77)


async def test_odd_images_no_layers_empty_layers_the_same_layer_twice_and_very_many(
    store: ImageStore, settings: ImageSettings, registry: Registry
) -> None:
    snapshotter = OverlaySnapshotter(store, settings)
    many = [make_tar((f"file-{index}", b"x")) for index in range(70)]
    for name, layers in {"none": [], "empty": [make_tar()], "twice": [_LOWER, _UPPER, _LOWER], "many": many}.items():
        registry.push_image(name, "1", layers)
        image = await store.pull_image(f"{registry.host}/{name}:1")
        mount = await snapshotter.prepare(ContainerId(name), image.id)
        assert len(set(mount.lower_dirs)) == max(1, len(layers))
        assert all(path.is_dir() for path in (*mount.lower_dirs, mount.upper_dir, mount.work_dir))


@pytest.mark.parametrize("docker", [True, False])
async def test_manifest_list_gives_the_image_of_this_machine_and_the_digest_of_the_list(
    store: ImageStore, registry: Registry, *, docker: bool
) -> None:
    name = f"multi-{docker}".lower()
    entries = []
    for architecture in ("arm64", "amd64"):
        layer = make_tar(("arch", architecture.encode()))
        digest = registry.push_image(name, architecture, [layer], architecture=architecture, docker=docker)
        data = await asyncio.to_thread(
            _read_manifest, registry, name, digest, DOCKER_MANIFEST if docker else OCI_MANIFEST
        )
        entries.append(
            {
                "mediaType": json.loads(data)["mediaType"],
                "digest": digest,
                "size": len(data),
                "platform": {"architecture": architecture, "os": "linux"},
            }
        )
    kind = "application/vnd.docker.distribution.manifest.list.v2+json" if docker else OCI_INDEX
    manifest = {"schemaVersion": 2, "mediaType": kind, "manifests": entries}
    digest = registry.push_manifest(name, "1", manifest)
    image = await store.pull_image(f"{registry.host}/{name}:1", progress=lambda state: None)
    assert image.architecture == "amd64"
    assert image.repo_digests == (f"{registry.host}/{name}@{digest}",)


def _read_manifest(registry: Registry, name: str, digest: str, accept: str) -> bytes:
    connection = http.client.HTTPConnection(registry.host)
    try:
        connection.request("GET", f"/v2/{name}/manifests/{digest}", headers={"Accept": accept})
        return connection.getresponse().read()
    finally:
        connection.close()


async def test_image_asked_for_by_digest_is_named_by_it(store: ImageStore, registry: Registry) -> None:
    digest = _push(registry, "bydigest", b"1")
    ref = f"{registry.host}/bydigest@{digest}"
    image = await store.pull_image(ref)
    assert (image.repo_tags, image.repo_digests) == ((), (ref,))
    assert store.image_status(ref) == image
    assert await store.prune() == (0, 0)
    await store.remove_image(ref)
    assert store.list_images() == []


async def test_absent_image_is_reported_in_containerds_words(store: ImageStore, registry: Registry) -> None:
    ref = f"{registry.host}/absent:1"
    with pytest.raises(ImagePullError) as caught:
        await store.pull_image(ref)
    assert str(caught.value) == (
        f'failed to pull and unpack image "{ref}": failed to resolve reference "{ref}": {ref}: not found'
    )
    assert caught.value.reason == "ErrImagePull"


async def test_invalid_name_and_dead_registry_have_their_reasons(store: ImageStore) -> None:
    with pytest.raises(ImagePullError, match="failed to parse image name") as caught:
        await store.pull_image("Not/Valid")
    assert caught.value.reason == "InvalidImageName"
    with pytest.raises(ImagePullError, match=r"failed to do request: .*connection refused") as caught:
        await store.pull_image("127.0.0.1:1/x:1")
    assert caught.value.reason == "ErrImagePull"


async def test_schema1_and_strange_manifests_are_refused_clearly(store: ImageStore, registry: Registry) -> None:
    descriptor = registry.push_blob("strange", b"{}")
    manifest = {
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", **descriptor},
        "layers": [{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", **descriptor}],
    }  # fmt: skip
    registry.push_manifest("strange", "1", manifest)
    with pytest.raises(ImagePullError, match="unsupported layer media type"):
        await store.pull_image(f"{registry.host}/strange:1")


async def test_credentials_are_used_tried_in_order_and_never_seen_in_arguments(
    store: ImageStore, registry_with_password: Registry
) -> None:
    host = registry_with_password.host
    _push(registry_with_password, "private", b"1")
    with pytest.raises(ImagePullError, match="pull access denied"):
        await store.pull_image(f"{host}/private:1")
    bad = AuthConfig(username=USER, password="wrong", server_address=host)
    with pytest.raises(ImagePullError, match="pull access denied") as caught:
        await store.pull_image(f"{host}/private:1", auths=(bad,))
    assert "wrong" not in str(caught.value)
    good = AuthConfig(username=USER, password=PASSWORD, server_address=f"http://{host}/v1/")
    assert await store.pull_image(f"{host}/private:1", auths=(bad, good))
    assert _leftovers(store) == []


async def test_broken_connection_leaves_nothing_half_made_and_a_retry_fetches_only_the_rest(
    store: ImageStore, proxy: SpoilingProxy
) -> None:
    layers = [make_tar(("file", bytes(range(256)) * 2000 * n)) for n in (1, 2, 3)]
    proxy.target.push_image("broken", "1", layers)
    blobs = await _layer_digests(proxy.target, "broken")
    proxy.break_after[blobs[2]] = 100
    ref = f"{proxy.host}/broken:1"
    with pytest.raises(ImagePullError, match="failed to pull and unpack image"):
        await store.pull_image(ref)
    assert store.image_status(ref) is None
    assert store.workspace.content.list_snapshots() == set()
    assert _leftovers(store) == []
    proxy.break_after.clear()
    kept = set(blobs[:2]) & store.workspace.content.list_blobs()
    proxy.requests.clear()
    await store.pull_image(ref)
    assert set(proxy.blob_requests()) & set(blobs) == set(blobs) - kept


async def _layer_digests(registry: Registry, name: str) -> list[str]:
    data = await asyncio.to_thread(_read_manifest, registry, name, "1", OCI_MANIFEST)
    return [layer["digest"] for layer in json.loads(data)["layers"]]


async def test_corrupted_blob_is_refused_and_not_kept(store: ImageStore, proxy: SpoilingProxy) -> None:
    _push(proxy.target, "corrupt", b"unlike any other")
    (blob,) = await _layer_digests(proxy.target, "corrupt")
    proxy.corrupt.add(blob)
    with pytest.raises(ImagePullError, match=r"[Dd]igest"):
        await store.pull_image(f"{proxy.host}/corrupt:1")
    assert blob not in store.workspace.content.list_blobs()
    proxy.corrupt.clear()
    assert await store.pull_image(f"{proxy.host}/corrupt:1")


async def test_blob_that_rotted_in_the_store_is_fetched_again(store: ImageStore, registry: Registry) -> None:
    _push(registry, "rotten", b"rotten")
    (blob,) = await _layer_digests(registry, "rotten")
    store.workspace.content.blob_path(blob).write_bytes(b"\x1f\x8b half a blob")
    assert await store.pull_image(f"{registry.host}/rotten:1")


async def test_layer_that_is_not_what_the_configuration_says_is_refused(store: ImageStore, registry: Registry) -> None:
    registry.push_image("lying", "1", [_LOWER], diff_ids=[digest_of(b"something else")])
    with pytest.raises(ImagePullError, match="does not match its diff id"):
        await store.pull_image(f"{registry.host}/lying:1")
    assert store.workspace.content.list_snapshots() == set()


async def test_who_watches_pulls_sees_those_of_others_and_their_end(store: ImageStore, registry: Registry) -> None:
    _push(registry, "watched", b"watched")
    seen: list[PullProgress] = []
    unsubscribe = store.subscribe_pulls(seen.append)
    ref = f"{registry.host}/watched:1"
    await store.pull_image(ref)
    assert {state.ref for state in seen} == {ref}
    assert seen[-1].phase == "done"
    with pytest.raises(ImagePullError):
        await store.pull_image(f"{registry.host}/nobody:1")
    assert (seen[-1].ref, seen[-1].phase) == (f"{registry.host}/nobody:1", "failed")
    unsubscribe()
    count = len(seen)
    await store.pull_image(ref)
    assert len(seen) == count


async def test_concurrent_pulls_share_the_work_and_cancelling_one_leaves_the_other(
    store: ImageStore, proxy: SpoilingProxy
) -> None:
    _push(proxy.target, "shared", b"shared")
    (blob,) = await _layer_digests(proxy.target, "shared")
    ref = f"{proxy.host}/shared:1"
    proxy.hold.clear()
    pulls = [asyncio.ensure_future(store.pull_image(ref)) for _ in range(3)]
    await asyncio.sleep(0)
    pulls[0].cancel()
    proxy.hold.set()
    results = await asyncio.gather(*pulls, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1] == results[2] == store.image_status(ref)
    assert proxy.blob_requests().count(blob) == 1


async def test_pull_that_nobody_waits_for_ends_and_leaves_nothing(store: ImageStore, proxy: SpoilingProxy) -> None:
    _push(proxy.target, "abandoned", b"abandoned")
    proxy.hold.clear()
    started = asyncio.Event()
    pull = asyncio.ensure_future(
        store.pull_image(f"{proxy.host}/abandoned:1", progress=lambda state: _set_on(state, started))
    )
    await started.wait()
    pull.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pull
    proxy.hold.set()
    await store.close()
    await store.open()
    assert _leftovers(store) == []
    assert store.list_images() == []


def _set_on(state: PullProgress, started: asyncio.Event) -> None:
    if state.phase == "downloading":
        started.set()


async def test_failing_at_each_step_leaves_nothing_and_a_retry_succeeds(store: ImageStore, registry: Registry) -> None:
    steps = [name for name in failpoint.known() if name.startswith("image.pull.")]
    assert len(steps) == 6
    for index, step in enumerate(steps):
        _push(registry, f"step-{index}", b"step%d" % index)
        ref = f"{registry.host}/step-{index}:1"
        failpoint.set(step, "error:ENOSPC")
        with pytest.raises(ImagePullError, match="No space left on device"):
            await store.pull_image(ref)
        failpoint.clear()
        assert _leftovers(store) == []
        assert store.image_status(ref) is None
        await store.pull_image(ref)


async def test_full_disk_leaves_no_blob_behind(store: ImageStore, registry: Registry) -> None:
    _push(registry, "full", b"full")
    failpoint.set("image.pull.04-unpack", "error:ENOSPC")
    with pytest.raises(ImagePullError, match="No space left on device"):
        await store.pull_image(f"{registry.host}/full:1")
    assert store.workspace.content.list_blobs() == set()


async def test_moved_tag_leaves_the_old_image_unnamed_until_it_is_pruned(store: ImageStore, registry: Registry) -> None:
    _push(registry, "moving", b"old")
    ref = f"{registry.host}/moving:1"
    old = await store.pull_image(ref)
    _push(registry, "moving", b"new")
    new = await store.pull_image(ref)
    assert new.id != old.id
    assert store.image_status(old.id) is not None
    removed, freed = await store.prune()
    assert (removed, freed > 0) == (1, True)
    assert [image.id for image in store.list_images()] == [new.id]
    assert len(store.workspace.content.list_snapshots()) == 1


async def test_image_in_use_by_any_instance_stays(
    store: ImageStore, settings: ImageSettings, registry: Registry, tmp_path: Path
) -> None:
    _push(registry, "used", b"used")
    ref = f"{registry.host}/used:1"
    image = await store.pull_image(ref)
    other_settings = ImageSettings(root=settings.root, instance="two", layers_dir=tmp_path / "two")
    other = ImageStore(other_settings)
    await other.open()
    snapshotter = OverlaySnapshotter(other, other_settings)
    mount = await snapshotter.prepare(ContainerId("abc"), image.id)
    with pytest.raises(ConflictError, match='in use by container "abc"'):
        await store.remove_image(ref)
    assert await store.prune() == (0, 0)
    assert all(path.is_dir() for path in mount.lower_dirs)
    assert await snapshotter.list_keys() == {"abc"}
    await snapshotter.remove(ContainerId("abc"))
    await snapshotter.remove(ContainerId("abc"))
    assert await snapshotter.list_keys() == set()
    await store.remove_image(ref)
    assert other.image_status(ref) is None
    assert store.workspace.content.list_snapshots() == set()
    assert store.workspace.content.list_blobs() == set()
    with pytest.raises(NotFoundError):
        await snapshotter.prepare(ContainerId("late"), image.id)
    assert await snapshotter.list_keys() == set()
    await other.close()


async def test_removing_one_of_two_names_keeps_the_image(store: ImageStore, registry: Registry) -> None:
    _push(registry, "twonames", b"two")
    image = await store.pull_image(f"{registry.host}/twonames:1")
    tagged = await store.tag_image(image.id, "mine")
    assert tagged.local_names == ("docker.io/library/mine:latest",)
    await store.remove_image(f"{registry.host}/twonames:1")
    assert store.image_status("mine") is not None
    with pytest.raises(NotFoundError, match='image "nothing": not found'):
        await store.remove_image("nothing")


async def test_layers_that_may_not_have_reached_the_disk_are_dropped_and_unpacked_again(
    store: ImageStore, settings: ImageSettings, registry: Registry
) -> None:
    _push(registry, "doubtful", b"doubtful")
    image = await store.pull_image(f"{registry.host}/doubtful:1")
    await store.close()
    (snapshot,) = (settings.root / "snapshots").iterdir()
    (snapshot / "durable").unlink(missing_ok=True)
    meta = json.loads((snapshot / "meta.json").read_bytes())
    (snapshot / "meta.json").write_text(json.dumps({**meta, "boot_id": "another"}))
    await store.open()
    assert store.workspace.content.list_snapshots() == set()
    mount = await OverlaySnapshotter(store, settings).prepare(ContainerId("c"), image.id)
    assert (mount.lower_dirs[0] / "file").exists()


async def test_leftovers_of_a_killed_daemon_are_swept_at_open(store: ImageStore, settings: ImageSettings) -> None:
    await store.close()
    (settings.root / "staging" / "pull-dead" / "deep").mkdir(parents=True)
    (settings.root / "meta.db").write_bytes(b"not a database at all" * 100)
    await store.open()
    assert _leftovers(store) == []
    assert store.list_images() == []
