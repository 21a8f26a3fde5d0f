"""Volumes that an image declares, and pods that do not mount anything there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from podhost.cri.runtime import Mount, SecurityConfig
from podhost.runtime.image_volumes import choose_volume_paths

Machine = Any


def declare(machine: Machine, *paths: str) -> None:
    machine.image = replace(machine.image, config=replace(machine.image.config, volumes=paths))


@pytest.mark.parametrize("machine", ["crun", "runc"], indirect=True)
async def test_image_volume_holds_the_images_files_and_is_writable_under_a_read_only_root(machine: Machine) -> None:
    declare(machine, "/etc", "/new/one", "/etc/")
    sandbox = await machine.sandbox()
    script = "cat /etc/passwd; echo x > /etc/more; echo y > /new/one/file; cat /etc/more; (echo z > /bin/no) 2>/dev/null || echo ro"
    security = SecurityConfig(read_only_rootfs=True)
    lines = (await machine.run(sandbox, "sh", "-c", script, security=security)).splitlines()
    assert "root:x:0:0:root:/root:/bin/sh" in lines
    assert lines[-1] == "ro"
    assert "x" in lines
    # Another container of the image begins anew.
    assert (await machine.run(sandbox, "sh", "-c", "ls /etc /new/one")).split() == [
        "/etc:", "group", "hostname", "hosts", "passwd", "resolv.conf", "/new/one:"
    ]  # fmt: skip


async def test_mount_of_the_pod_takes_the_place_of_an_image_volume(machine: Machine, tmp_path: Path) -> None:
    declare(machine, "/data")
    (tmp_path / "of-the-pod").touch()
    mounts = (Mount(container_path="/data/", host_path=tmp_path),)
    sandbox = await machine.sandbox()
    assert await machine.run(sandbox, "ls", "/data", mounts=mounts) == "of-the-pod\n"


async def test_owner_and_mode_of_the_images_directory_are_kept(machine: Machine, image_root: Path) -> None:
    cache = image_root / "cache"
    cache.mkdir(exist_ok=True)
    cache.chmod(0o1770)
    (cache / "link").unlink(missing_ok=True)
    (cache / "link").symlink_to("/etc/passwd")
    declare(machine, "/cache")
    sandbox = await machine.sandbox()
    out = await machine.run(sandbox, "ls", "-al", "/cache")
    assert "drwxrwx--T" in out
    assert "link -> /etc/passwd" in out


@pytest.mark.parametrize(
    ("declared", "mounted", "wanted"),
    [
        (("/a", "/b"), (), ["/a", "/b"]),
        (("/a/", "a", "//a"), (), ["/a"]),
        (("/a", "/a/b"), ("/a",), ["/a/b"]),
        (("/a",), ("/a/",), []),
        (("/", "/x/.."), (), []),
    ],
)
def test_paths_that_need_a_volume(declared: tuple[str, ...], mounted: tuple[str, ...], wanted: list[str]) -> None:
    mounts = [Mount(container_path=path, host_path=Path("/host")) for path in mounted]
    assert choose_volume_paths(declared, mounts) == wanted
