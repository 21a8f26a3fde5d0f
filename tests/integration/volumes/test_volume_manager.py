"""A pod's volumes on the real kernel, as root."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from pathlib import Path

import pytest

from harness.volume_host import CONFIG, EMPTY, MEMORY, SECRET, UID, Host, container
from podhost.cri.ids import PodUID
from podhost.cri.volumes import VolumeError
from podhost.linux import mount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


async def test_pod_without_volumes_leaves_no_trace(host: Host) -> None:
    assert await host.manager.mount_volumes(host.pod()) == {}
    assert not host.pods.exists()
    assert host.manager.list_pods() == set()
    await host.manager.unmount_volumes(UID)


async def test_empty_dirs_of_two_pods_with_one_name_are_two(host: Host) -> None:
    one = (await host.manager.mount_volumes(host.pod(EMPTY, uid="one")))["e"].host_path
    two = (await host.manager.mount_volumes(host.pod(EMPTY, uid="two")))["e"].host_path
    assert one == host.pods / "one/volumes/kubernetes.io~empty-dir/e"
    (one / "file").write_text("of one")
    assert os.listdir(two) == []
    assert one.stat().st_mode & 0o7777 == 0o777
    assert host.manager.list_pods() == {"one", "two"}
    await host.manager.unmount_volumes(PodUID("one"))
    assert host.manager.list_pods() == {"two"}
    assert two.is_dir()
    await host.manager.unmount_volumes(PodUID("two"))
    assert os.listdir(host.pods) == []


async def test_memory_volume_is_one_tmpfs_of_its_size_shared_by_all_containers(host: Host) -> None:
    pod = host.pod(MEMORY)
    mounted = await host.manager.mount_volumes(pod)
    path = mounted["m"].host_path
    assert path.stat().st_mode & 0o7777 == 0o1777
    (path / "shared").touch()
    for name in ("one", "two"):
        (bind,) = await host.manager.container_mounts(
            pod, container({"name": "m", "mountPath": "/m"}, name=name), mounted
        )
        assert (bind.host_path / "shared").exists()
    with pytest.raises(OSError, match="No space"):
        (path / "big").write_bytes(bytes(2 << 20))
    assert len(host.mounts()) == 1


async def test_mounting_again_and_after_a_restart_changes_nothing(host: Host) -> None:
    host.objects.config_map("cm", a="1")
    host.objects.secret("sec", password="x")
    pod = host.pod(EMPTY, MEMORY, CONFIG, SECRET)
    first = await host.manager.mount_volumes(pod)
    (first["m"].host_path / "kept").touch()
    (first["e"].host_path / "kept").touch()
    first["e"].host_path.chmod(0o700)
    table = [(info.mount_id, info.mount_point) for info in mount.mounts()]
    version = os.readlink(first["c"].host_path / "..data")
    host.restart()
    assert await host.manager.mount_volumes(pod) == first
    assert [(info.mount_id, info.mount_point) for info in mount.mounts()] == table
    assert os.readlink(first["c"].host_path / "..data") == version
    assert (first["m"].host_path / "kept").exists()
    assert (first["e"].host_path / "kept").exists()
    assert first["e"].host_path.stat().st_mode & 0o7777 == 0o700


async def test_config_and_secret_are_read_only_and_the_secret_never_touches_the_disk(host: Host) -> None:
    host.objects.config_map("cm", nginx_conf="listen 80;")
    host.objects.secret("sec", password="hunter2")
    pod = host.pod(CONFIG, SECRET)
    mounted = await host.manager.mount_volumes(pod)
    assert (mounted["c"].host_path / "nginx.conf").read_text() == "listen 80;"
    assert (mounted["s"].host_path / "password").read_text() == "hunter2"
    assert mounted["c"].read_only
    assert mounted["s"].read_only
    (info,) = [info for info in mount.mounts() if info.mount_point == mounted["s"].host_path]
    assert info.fstype == "tmpfs"
    wanted = container({"name": "c", "mountPath": "/etc/nginx"}, {"name": "s", "mountPath": "/s"})
    binds = await host.manager.container_mounts(pod, wanted, mounted)
    assert [bind.read_only for bind in binds] == [True, True]
    await host.manager.unmount_volumes(UID)
    assert host.mounts() == []
    assert os.listdir(host.pods) == []


async def test_changed_object_reaches_the_pods_that_show_it(host: Host) -> None:
    host.objects.config_map("cm", a="1")
    shown = (await host.manager.mount_volumes(host.pod(CONFIG, uid="shows")))["c"].host_path
    await host.manager.mount_volumes(host.pod(EMPTY, uid="other"))
    host.objects.config_map("cm", a="2", b="3")
    await host.manager.refresh_object("ConfigMap", "ns", "unrelated")
    assert (shown / "a").read_text() == "1"
    await host.manager.refresh_object("ConfigMap", "ns", "cm")
    assert (shown / "a").read_text() == "2"
    assert (shown / "b").read_text() == "3"


async def test_deleted_object_leaves_the_old_files_and_says_so(host: Host) -> None:
    host.objects.config_map("cm", a="1")
    shown = (await host.manager.mount_volumes(host.pod(CONFIG)))["c"].host_path
    host.objects.documents.clear()
    failed = await host.manager.refresh_object("ConfigMap", "ns", "cm")
    assert (shown / "a").read_text() == "1"
    assert failed == {UID: ['MountVolume.SetUp failed for volume "c" : configmap "cm" not found']}


async def test_refresh_after_the_pod_is_gone_brings_nothing_back(host: Host) -> None:
    host.objects.config_map("cm", a="1")
    await host.manager.mount_volumes(host.pod(CONFIG))
    await host.manager.unmount_volumes(UID)
    await host.manager.refresh_object("ConfigMap", "ns", "cm")
    assert os.listdir(host.pods) == []


async def test_reader_sees_all_old_or_all_new_files_during_updates(host: Host) -> None:
    host.objects.config_map("cm", a="0", b="0")
    shown = (await host.manager.mount_volumes(host.pod(CONFIG)))["c"].host_path
    torn, stop = [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            # As a program does that wants one version: through one resolution of ..data.
            try:
                version = os.open(shown / "..data", os.O_PATH)
            except FileNotFoundError:
                # Resolved to a version that went at that moment: as on any node, one tries again.
                continue
            try:
                values = [Path(f"/proc/self/fd/{version}/{name}").read_text() for name in ("a", "b")]
            except FileNotFoundError:
                continue
            finally:
                os.close(version)
            if len(set(values)) != 1:
                torn.append(values)

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(100):
        host.objects.config_map("cm", a=f"{number}", b=f"{number}")
        await host.manager.refresh_object("ConfigMap", "ns", "cm")
    stop.set()
    thread.join()
    assert torn == []


async def test_all_failures_are_told_in_the_pods_order_and_the_rest_is_mounted(host: Host) -> None:
    pod = host.pod({"name": "h", "hostPath": {"path": "/etc/passwd", "type": "Directory"}}, EMPTY, CONFIG)
    with pytest.raises(VolumeError) as caught:
        await host.manager.mount_volumes(pod)
    assert str(caught.value) == (
        'MountVolume.SetUp failed for volume "h" : hostPath type check failed: /etc/passwd is not a directory, '
        "it's a File; "
        'MountVolume.SetUp failed for volume "c" : configmap "cm" not found'
    )
    assert (host.pods / "uid-1/volumes/kubernetes.io~empty-dir/e").is_dir()
    await host.manager.unmount_volumes(UID)
    assert os.listdir(host.pods) == []


async def test_host_path_is_used_as_it_is_and_survives_the_pod(host: Host) -> None:
    outside = host.top / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    pod = host.pod({"name": "h", "hostPath": {"path": str(outside), "type": "Directory"}}, EMPTY)
    mounted = await host.manager.mount_volumes(pod)
    assert mounted["h"].host_path == outside
    binds = await host.manager.container_mounts(
        pod,
        container(
            {"name": "h", "mountPath": "/a", "mountPropagation": "HostToContainer"},
            {"name": "h", "mountPath": "/b", "subPath": "file", "readOnly": True},
            {"name": "h", "mountPath": "/c", "mountPropagation": "Bidirectional"},
            {"name": "h", "mountPath": "/d", "readOnly": True, "recursiveReadOnly": "Enabled"},
        ),
        mounted,
    )
    assert [bind.propagation for bind in binds] == ["rslave", "private", "rshared", "private"]
    assert [bind.read_only for bind in binds] == [False, True, False, True]
    assert [bind.recursive_read_only for bind in binds] == [False, False, False, True]
    assert binds[1].host_path.read_text() == "precious"
    (mounted["e"].host_path / "link-out").symlink_to(outside)
    await host.manager.unmount_volumes(UID)
    assert (outside / "file").read_text() == "precious"
    assert host.mounts() == []


async def test_fs_group_owns_what_it_may_use(host: Host) -> None:
    host.objects.config_map("cm", a="1")
    pod = host.pod(EMPTY, MEMORY, CONFIG, securityContext={"fsGroup": 1234})
    mounted = await host.manager.mount_volumes(pod)
    for name, mode in (("e", 0o2777), ("m", 0o3777), ("c", 0o2777)):
        info = mounted[name].host_path.stat()
        assert (info.st_gid, oct(info.st_mode & 0o7777)) == (1234, oct(mode))
    info = (mounted["c"].host_path / "a").stat()
    assert (info.st_gid, info.st_mode & 0o7777) == (1234, 0o644)
    # What is made for a subPath is the group's as well.
    wanted = container({"name": "e", "mountPath": "/x", "subPath": "a/b"})
    (bind,) = await host.manager.container_mounts(pod, wanted, mounted)
    for path in (mounted["e"].host_path / "a", bind.host_path):
        assert (path.stat().st_gid, oct(path.stat().st_mode & 0o7777)) == (1234, oct(0o2777))


async def test_item_whose_key_is_gone_leaves_the_old_files_and_says_so(host: Host) -> None:
    host.objects.config_map("cm", key="v", other="w")
    items = [{"key": "key", "path": "key"}]
    await host.manager.mount_volumes(host.pod({"name": "c", "configMap": {"name": "cm", "items": items}}))
    host.objects.config_map("cm", other="w")
    failed = await host.manager.refresh_object("ConfigMap", "ns", "cm")
    assert failed == {
        UID: ['MountVolume.SetUp failed for volume "c" : configmap references non-existent config key: key']
    }


async def test_volumes_are_measured_each_for_itself(host: Host) -> None:
    host.objects.secret("sec", password="x")
    pod = host.pod(EMPTY, MEMORY, SECRET)
    mounted = await host.manager.mount_volumes(pod)
    empty = await host.manager.measure_volumes(pod)
    assert set(empty) == {"e", "m", "s"}
    for name in ("e", "m"):
        (mounted[name].host_path / "file").write_bytes(bytes(200_000))
    full = await host.manager.measure_volumes(pod)
    for name in ("e", "m"):
        assert 200_000 <= full[name].used.used_bytes - empty[name].used.used_bytes < 300_000
        assert full[name].used.inodes == empty[name].used.inodes + 1
        assert full[name].available_bytes <= full[name].capacity_bytes
    assert full["s"].used == empty["s"].used
    assert set(await host.manager.measure_volumes(pod, {"e"})) == {"e"}
    assert await host.manager.measure_volumes(host.pod()) == {}


async def test_many_pods_at_once_do_not_disturb_each_other(host: Host) -> None:
    host.objects.config_map("cm", a="1")
    uids = [uuid.uuid4().hex for _ in range(30)]
    await asyncio.gather(*(host.manager.mount_volumes(host.pod(EMPTY, MEMORY, CONFIG, uid=uid)) for uid in uids))
    assert host.manager.list_pods() == set(uids)
    await asyncio.gather(*(host.manager.unmount_volumes(PodUID(uid)) for uid in uids))
    assert host.manager.list_pods() == set()
    assert host.mounts() == []


async def test_uid_that_is_no_name_is_refused(host: Host) -> None:
    for uid in ("", "..", "a/b"):
        with pytest.raises(VolumeError, match="uid"):
            await host.manager.mount_volumes(host.pod(EMPTY, uid=uid))


async def test_mounting_takes_about_a_millisecond(host: Host) -> None:
    host.objects.config_map("cm", a="1")
    times = []
    for number in range(15):
        pod = host.pod(EMPTY, CONFIG, uid=f"u{number}")
        started = time.perf_counter()
        await host.manager.mount_volumes(pod)
        times.append(time.perf_counter() - started)
    # 1 ms on a quiet machine; the bound only catches a change of kind.
    assert sorted(times)[3] < 0.02
