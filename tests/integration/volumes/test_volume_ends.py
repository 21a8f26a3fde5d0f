"""Volumes on the real kernel, as root: unmounted whatever went before, and finished after a failure at any step."""

from __future__ import annotations

import os

import pytest

from harness.volume_host import CONFIG, EMPTY, MEMORY, SECRET, UID, Host, container
from podhost.aiokit import failpoint
from podhost.cri.volumes import VolumeError
from podhost.linux import mount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

STEPS = [name for name in failpoint.known() if name.startswith(("volumes.mount.", "volumes.subpath."))]


async def test_unmounting_removes_what_containers_mounted_and_locked(host: Host) -> None:
    pod = host.pod(EMPTY, MEMORY)
    mounted = await host.manager.mount_volumes(pod)
    inner = mounted["e"].host_path / "deep" / "mount"
    inner.mkdir(parents=True)
    mount.mount_tmpfs(inner, size_bytes=None)
    mount.mount_tmpfs(mounted["m"].host_path, size_bytes=None)
    with open(mounted["m"].host_path / "open", "w"):
        await host.manager.unmount_volumes(UID)
        await host.manager.unmount_volumes(UID)
    assert host.mounts() == []
    assert os.listdir(host.pods) == []


async def test_files_of_others_in_the_pods_directory_stay(host: Host) -> None:
    await host.manager.mount_volumes(host.pod(EMPTY))
    (host.pods / "uid-1" / "etc-hosts").touch()
    await host.manager.unmount_volumes(UID)
    assert os.listdir(host.pods / "uid-1") == ["etc-hosts"]
    assert host.manager.list_pods() == set()


@pytest.mark.parametrize("step", STEPS)
async def test_failure_at_any_step_leaves_what_a_retry_finishes_and_an_unmount_removes(host: Host, step: str) -> None:
    host.objects.config_map("cm", a="1")
    host.objects.secret("sec", password="x")
    pod = host.pod(EMPTY, MEMORY, CONFIG, SECRET, {"name": "h", "hostPath": {"path": "/etc"}})
    wanted = container(
        {"name": "e", "mountPath": "/e", "subPath": "x"}, {"name": "c", "mountPath": "/c", "subPath": "a"}
    )

    async def start() -> None:
        mounted = await host.manager.mount_volumes(pod)
        await host.manager.container_mounts(pod, wanted, mounted)

    failpoint.set(step, "error:EIO")
    with pytest.raises(VolumeError, match="failpoint"):
        await start()
    failpoint.clear()
    host.restart()
    await start()
    assert len(host.mounts()) == 4
    await host.manager.unmount_volumes(UID)
    assert host.mounts() == []
    assert os.listdir(host.pods) == []


@pytest.mark.parametrize("step", [name for name in failpoint.known() if name.startswith("volumes.unmount.")])
async def test_failure_while_unmounting_is_finished_by_the_sweep_after_a_restart(host: Host, step: str) -> None:
    host.objects.secret("sec", password="x")
    await host.manager.mount_volumes(host.pod(EMPTY, MEMORY, SECRET))
    failpoint.set(step, "error:EIO")
    with pytest.raises(VolumeError, match=r"cannot remove the volumes of pod uid-1: .*failpoint"):
        await host.manager.unmount_volumes(UID)
    failpoint.clear()
    host.restart()
    for uid in host.manager.list_pods() | {UID}:
        await host.manager.unmount_volumes(uid)
    assert host.mounts() == []
    assert os.listdir(host.pods) == []
