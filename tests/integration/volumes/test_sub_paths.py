"""Sub-paths of volumes on the real kernel, as root: what is mounted, and what must not be reached by them."""

from __future__ import annotations

import os
import threading
import time

import pytest

from harness.volume_host import CONFIG, EMPTY, UID, Host, container
from podhost.cri.volumes import VolumeError
from podhost.linux import mount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


async def test_sub_path_of_a_config_map_is_one_file_that_never_updates(host: Host) -> None:
    host.objects.config_map("cm", nginx_conf="old", other="x")
    pod = host.pod(CONFIG)
    mounted = await host.manager.mount_volumes(pod)
    wanted = container({"name": "c", "mountPath": "/etc/nginx/nginx.conf", "subPath": "nginx.conf"})
    (bind,) = await host.manager.container_mounts(pod, wanted, mounted)
    assert bind.host_path == host.pods / "uid-1/volume-subpaths/c/c/0"
    assert bind.read_only
    host.objects.config_map("cm", nginx_conf="new", other="x")
    await host.manager.refresh_object("ConfigMap", "ns", "cm")
    assert (mounted["c"].host_path / "nginx.conf").read_text() == "new"
    assert bind.host_path.read_text() == "old"
    # A restarted container gets the file of today.
    (again,) = await host.manager.container_mounts(pod, wanted, mounted)
    assert again == bind
    assert again.host_path.read_text() == "new"
    assert len(host.mounts()) == 1


async def test_sub_path_mounts_stay_as_they_are_when_nothing_changed(host: Host) -> None:
    pod = host.pod(EMPTY)
    mounted = await host.manager.mount_volumes(pod)
    wanted = container({"name": "e", "mountPath": "/x", "subPath": "a/b"})
    await host.manager.container_mounts(pod, wanted, mounted)
    table = [info.mount_id for info in mount.mounts()]
    host.restart()
    await host.manager.container_mounts(pod, wanted, mounted)
    assert [info.mount_id for info in mount.mounts()] == table
    made = mounted["e"].host_path / "a/b"
    assert made.stat().st_mode & 0o7777 == 0o777


@pytest.mark.parametrize(
    ("sub_path", "text"),
    [
        ("/etc", "error SubPath `/etc` must not be an absolute path"),
        ("a/../../b", "unable to provision SubPath `a/../../b`: must not contain '..'"),
        ("file/x", 'failed to prepare subPath for volumeMount "e" of container "c": '),
        ("a\0b", 'failed to prepare subPath for volumeMount "e" of container "c": '),
    ],
)
async def test_sub_path_that_cannot_be_had_is_refused(host: Host, sub_path: str, text: str) -> None:
    pod = host.pod(EMPTY)
    mounted = await host.manager.mount_volumes(pod)
    (mounted["e"].host_path / "file").touch()
    with pytest.raises(VolumeError) as caught:
        await host.manager.container_mounts(
            pod, container({"name": "e", "mountPath": "/x", "subPath": sub_path}), mounted
        )
    assert str(caught.value).startswith(text)
    assert host.mounts() == []


async def test_mount_of_an_unknown_volume_and_unexpanded_expression_are_refused(host: Host) -> None:
    pod = host.pod(EMPTY)
    mounted = await host.manager.mount_volumes(pod)
    with pytest.raises(VolumeError, match='cannot find volume "nope"'):
        await host.manager.container_mounts(pod, container({"name": "nope", "mountPath": "/x"}), mounted)
    with pytest.raises(VolumeError, match="subPathExpr has not been expanded"):
        await host.manager.container_mounts(
            pod, container({"name": "e", "mountPath": "/x", "subPathExpr": "$(A)"}), mounted
        )


@pytest.mark.parametrize("link", ["/", "/etc", "../../../../../../../../etc", "/proc/self/root", "../e-more"])
@pytest.mark.parametrize("beyond", ["", "/a/b"])
async def test_sub_path_symlink_out_of_the_volume_is_refused(host: Host, link: str, beyond: str) -> None:
    pod = host.pod(EMPTY)
    mounted = await host.manager.mount_volumes(pod)
    volume = mounted["e"].host_path
    (volume / "link").symlink_to(link)
    wanted = container({"name": "e", "mountPath": "/x", "subPath": f"link{beyond}"})
    with pytest.raises(VolumeError, match=r'subPath for volumeMount "e" .* "/.*" not within volume path "/.*/e"'):
        await host.manager.container_mounts(pod, wanted, mounted)
    assert host.mounts() == []
    assert os.listdir(volume) == ["link"]


@pytest.mark.parametrize("link", ["real", "./real", "../e/real", "{volume}/real"])
@pytest.mark.parametrize("beyond", ["", "/there", "/new/deep"])
async def test_sub_path_symlink_within_the_volume_is_followed(host: Host, link: str, beyond: str) -> None:
    pod = host.pod(EMPTY)
    mounted = await host.manager.mount_volumes(pod)
    volume = mounted["e"].host_path
    (volume / "real" / "there").mkdir(parents=True)
    (volume / "link").symlink_to(link.format(volume=volume))
    wanted = container({"name": "e", "mountPath": "/x", "subPath": f"link{beyond}"})
    (bind,) = await host.manager.container_mounts(pod, wanted, mounted)
    assert bind.host_path.samefile(volume / f"real{beyond}")


async def test_cve_2021_25741_exchanging_the_sub_path_for_a_symlink_never_shows_the_host(host: Host) -> None:
    """One container swaps the directory and a symlink as fast as it can while others are being started."""
    pod = host.pod(EMPTY)
    mounted = await host.manager.mount_volumes(pod)
    volume = mounted["e"].host_path
    outside = host.top / "outside"
    outside.mkdir()
    (outside / "secret").write_text("of the host")
    target = volume / "target"
    stop, swaps = threading.Event(), 0

    def attack() -> None:
        nonlocal swaps
        while not stop.is_set():
            # The victim makes the directory when it finds none: whatever is there is cleared away.
            for step in (target.rmdir, lambda: target.symlink_to(outside), target.unlink, target.mkdir):
                try:
                    step()
                except OSError:
                    continue
            swaps += 1

    thread = threading.Thread(target=attack)
    thread.start()
    escaped, mounted_count, deadline = 0, 0, time.monotonic() + 1.0
    try:
        for number in range(10_000):
            if time.monotonic() > deadline:
                break
            wanted = container({"name": "e", "mountPath": "/x", "subPath": "target"}, name=f"c{number}")
            try:
                (bind,) = await host.manager.container_mounts(pod, wanted, mounted)
            except VolumeError:
                continue
            mounted_count += 1
            escaped += (bind.host_path / "secret").exists()
            mount.unmount(bind.host_path)
    finally:
        stop.set()
        thread.join()
    assert swaps > 10
    assert mounted_count > 10
    assert escaped == 0
    await host.manager.unmount_volumes(UID)
    assert (outside / "secret").read_text() == "of the host"
