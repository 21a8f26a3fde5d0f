"""Processes that do not see the mounts of pods, on the real kernel."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import pytest

from podhost.linux import mount, spawn
from podhost.linux.bare_mounts import HiddenMounts, create_bare_launcher

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "pods"
    for name in ("volume", "needed"):
        (directory / name).mkdir(parents=True)
        mount.mount_tmpfs(directory / name, size_bytes=None)
        (directory / name / "file").touch()
    yield directory
    mount.unmount_tree(tmp_path)


@pytest.fixture
def launcher(pods: Path) -> Iterator[Executor]:
    made = create_bare_launcher(HiddenMounts([pods], [pods / "needed" / "file"]))
    yield made
    made.shutdown()


async def list_files(pods: Path, launcher: Executor | None) -> str:
    process = await spawn.start(
        ["sh", "-c", "cd $1; ls volume needed", "sh", str(pods)], stdout=spawn.PIPE, launcher=launcher
    )
    assert process.stdout is not None
    text = (await process.stdout.read()).decode()
    assert await process.wait() == 0
    return text.replace("\n", " ").strip()


async def test_process_of_the_launcher_sees_only_the_mounts_it_needs(pods: Path, launcher: Executor) -> None:
    assert await list_files(pods, launcher) == "needed: file  volume:"
    assert await list_files(pods, None) == "needed: file  volume: file"


async def test_mount_that_is_hidden_can_be_taken_away_for_good(pods: Path, launcher: Executor) -> None:
    await list_files(pods, launcher)
    mount.unmount(pods / "volume", detach=False)
    mount.mount_tmpfs(pods / "volume", size_bytes=None)
    (pods / "volume" / "later").touch()
    assert await list_files(pods, launcher) == "needed: file  volume:"


async def test_process_of_a_caller_who_goes_away_while_it_is_started_is_killed(pods: Path, launcher: Executor) -> None:
    await list_files(pods, launcher)
    read_fd, write_fd = os.pipe()
    starting = asyncio.ensure_future(spawn.start(["sleep", "1000"], stdout=write_fd, launcher=launcher))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    os.close(write_fd)
    assert await asyncio.to_thread(os.read, read_fd, 1) == b""  # nobody holds the other end
    os.close(read_fd)
