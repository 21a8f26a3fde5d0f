"""Facts about one pod at one moment, read from the kernel.  Blocking; interprets nothing.

Nothing runs inside a container: processes are found by their cgroup, sockets by sock_diag in the pod's network
namespace, IPC tables in its IPC namespace, files by the descriptors of its processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from podhost.linux import cgroup, proc
from podhost.linux.ipc_tables import IpcTables, ShmFile, observe_ipc_tables, observe_shm_files
from podhost.linux.mount import MountInfo
from podhost.linux.paths import open_beneath
from podhost.linux.proc import BlockedCall, BlockedOpen, MappedFile, OpenFile, ProcessFacts
from podhost.linux.sock_diag import InetSocket, UnixSocket, observe_inet_sockets, observe_unix_sockets
from podhost.linux.syscall_trace import MissedLookup

T = TypeVar("T")

_MAX_VOLUME_FILES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFacts:
    """A container as the runtime knows it; ``pid`` 0: not running."""

    name: str
    state: str
    pid: int = 0
    id: str = ""
    """Name of its cgroup, when it has one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTarget:
    """What to observe, gathered in the event loop."""

    namespace: str
    name: str
    uid: str
    containers: tuple[ContainerFacts, ...]
    netns: Path | None = None
    """``None``: the host's network; then only sockets that the pod's processes hold count."""
    host_ipc: bool = False
    mount_points: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Container → where its volumes are mounted."""
    earlier_pids: Mapping[int, str] = field(default_factory=dict)
    """Processes seen before, by host pid → container: the kernel names dead senders too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A volume in a container, as it is mounted."""

    container: str
    mount_point: str
    mount_id: int
    read_only: bool
    device: int = 0
    inode: int = 0
    files: tuple[VolumeFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeFile:
    """A file at the top of a volume."""

    name: str
    kind: str
    size_bytes: int
    modified_ns: int
    device: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSnapshot:
    """The facts."""

    target: PodTarget
    processes: Mapping[int, tuple[str, ProcessFacts]] = field(default_factory=dict)
    """Host pid → (container, facts)."""
    socket_owners: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """Inode → host pids."""
    inet: tuple[InetSocket, ...] = ()
    unix: tuple[UnixSocket, ...] = ()
    files: tuple[OpenFile, ...] = ()
    mounts: tuple[VolumeMount, ...] = ()
    ipc: IpcTables = field(default_factory=IpcTables)
    shm: tuple[ShmFile, ...] = ()
    mappings: tuple[MappedFile, ...] = ()
    blocked: tuple[BlockedCall, ...] = ()
    opening: tuple[BlockedOpen, ...] = ()
    missed: tuple[MissedLookup, ...] = ()
    """Only where somebody asked to watch for a while."""
    gaps: tuple[str, ...] = ()


def observe_snapshot(target: PodTarget) -> PodSnapshot:
    """Read everything.  What cannot be read is named in ``gaps``."""
    gaps: list[str] = []
    processes = _observe_processes(target, gaps)
    first = next((c.pid for c in target.containers if c.pid in processes), 0)
    owners, files = _observe_descriptors(processes)
    inet: Iterable[InetSocket] = _attempt(gaps, "sockets", lambda: observe_inet_sockets(target.netns), [])
    unix: Iterable[UnixSocket] = _attempt(gaps, "unix sockets", lambda: observe_unix_sockets(target.netns), [])
    if target.netns is None:
        inet = [each for each in inet if each.inode in owners]
        unix = _own_unix_sockets(list(unix), owners)
    ipc = IpcTables()
    shm: list[ShmFile] = []
    if first:
        ipc = _attempt(gaps, "IPC tables", lambda: observe_ipc_tables(Path(f"/proc/{first}/ns/ipc")), IpcTables())
        shm = _attempt(gaps, "/dev/shm", lambda: _observe_shm(first), [])
    mounts = _observe_mounts(target, processes)
    mappings = _observe_mappings(processes) if ipc.segments or shm else []
    return PodSnapshot(
        target=target,
        processes=processes,
        socket_owners=owners,
        inet=tuple(inet),
        unix=tuple(unix),
        files=tuple(_choose_files(files, mounts, ipc, shm)),
        mounts=tuple(mounts),
        ipc=ipc,
        shm=tuple(shm),
        mappings=tuple(mappings),
        # Who waits on a queue is asked only where there is one.
        blocked=tuple(filter(None, map(proc.read_blocked_call, processes))) if ipc.queues else (),
        opening=tuple(filter(None, map(proc.read_blocked_open, processes))) if _has_fifo(mounts) else (),
        gaps=tuple(gaps),
    )


def _attempt(gaps: list[str], what: str, read: Callable[[], T], otherwise: T) -> T:
    try:
        return read()
    except OSError as error:
        gaps.append(f"cannot observe {what}: {error}")
        return otherwise


def _observe_processes(target: PodTarget, gaps: list[str]) -> dict[int, tuple[str, ProcessFacts]]:
    """By cgroup: whatever a container has started is in its own, also what has left its main process.

    On a host that gives no cgroups only the main process is known for sure.
    """
    found: dict[int, tuple[str, ProcessFacts]] = {}
    for container in target.containers:
        path = proc.read_cgroup_path(container.pid) if container.pid else None
        if path is None:
            continue
        pids: set[int] = set()
        if container.id and container.id in path.split("/"):
            pids = _attempt(gaps, f"the cgroup of {container.name}", partial(cgroup.pids, path), pids)
        for pid in sorted(pids | {container.pid}):
            facts = proc.read_process(pid)
            if facts is not None:
                found[pid] = (container.name, facts)
    return found


def _observe_descriptors(pids: Iterable[int]) -> tuple[dict[int, tuple[int, ...]], list[OpenFile]]:
    owners: dict[int, tuple[int, ...]] = {}
    files: list[OpenFile] = []
    for pid in pids:
        descriptors = proc.read_descriptors(pid)
        for inode in dict.fromkeys(descriptors.sockets):
            owners[inode] = (*owners.get(inode, ()), pid)
        files.extend(descriptors.files)
    return owners, files


def _own_unix_sockets(found: list[UnixSocket], owners: Mapping[int, tuple[int, ...]]) -> list[UnixSocket]:
    mine = {each.inode for each in found if each.inode in owners}
    return [each for each in found if each.inode in mine or each.peer_inode in mine]


def _observe_shm(pid: int) -> list[ShmFile]:
    root_fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        shm_fd = open_beneath(root_fd, "dev/shm", os.O_RDONLY | os.O_DIRECTORY)
    finally:
        os.close(root_fd)
    try:
        return observe_shm_files(shm_fd)
    finally:
        os.close(shm_fd)


def _observe_mappings(pids: Iterable[int]) -> list[MappedFile]:
    return [
        mapped
        for pid in pids
        for mapped in proc.read_shared_mappings(pid)
        if mapped.path.startswith(("/SYSV", "/dev/shm/"))
    ]


def _observe_mounts(target: PodTarget, processes: Mapping[int, object]) -> list[VolumeMount]:
    found: list[VolumeMount] = []
    for container in target.containers:
        wanted = target.mount_points.get(container.name, ())
        if not wanted or container.pid not in processes:
            continue
        # The last mount at a place is the one that is seen.
        by_place = {str(info.mount_point): info for info in proc.read_mounts(container.pid)}
        found.extend(_observe_mount(container, place, by_place[place]) for place in wanted if place in by_place)
    return found


def _observe_mount(container: ContainerFacts, place: str, info: MountInfo) -> VolumeMount:
    device, inode = 0, 0
    files: tuple[VolumeFile, ...] = ()
    try:
        root_fd = os.open(f"/proc/{container.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_beneath(root_fd, place.lstrip("/"), os.O_PATH)
        finally:
            os.close(root_fd)
        try:
            facts = os.fstat(fd)
            device, inode = facts.st_dev, facts.st_ino
            files = _list_files(fd)
        finally:
            os.close(fd)
    except OSError:
        pass  # the container has just ended, or has put something over its volume
    read_only = "ro" in info.options or "ro" in info.super_options
    return VolumeMount(
        container=container.name,
        mount_point=place,
        mount_id=info.mount_id,
        read_only=read_only,
        device=device,
        inode=inode,
        files=files,
    )


def _has_fifo(mounts: Iterable[VolumeMount]) -> bool:
    return any(file.kind == "fifo" for mount in mounts for file in mount.files)


def _list_files(path_fd: int) -> tuple[VolumeFile, ...]:
    """The first files of a volume's top directory; nothing for a volume that is a file."""
    found: list[VolumeFile] = []
    try:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=path_fd)
    except NotADirectoryError:
        return ()
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                if len(found) >= _MAX_VOLUME_FILES:
                    break
                facts = entry.stat(follow_symlinks=False)
                kind = "fifo" if (facts.st_mode & 0o170000) == 0o010000 else ""
                kind = kind or ("socket" if (facts.st_mode & 0o170000) == 0o140000 else "")
                kind = kind or ("file" if entry.is_file(follow_symlinks=False) else "other")
                found.append(
                    VolumeFile(
                        name=entry.name,
                        kind=kind,
                        size_bytes=facts.st_size,
                        modified_ns=facts.st_mtime_ns,
                        device=facts.st_dev,
                        inode=facts.st_ino,
                    )
                )
    except OSError:
        pass  # emptied under our eyes
    finally:
        os.close(fd)
    return tuple(found)


def _choose_files(
    files: Iterable[OpenFile], mounts: Iterable[VolumeMount], ipc: IpcTables, shm: Iterable[ShmFile]
) -> Iterable[OpenFile]:
    """Those that others could share: in volumes, queues, shared memory.  A program's own files are its own."""
    mount_ids = {mount.mount_id for mount in mounts}
    shared = {(each.device, each.inode) for each in ipc.posix_queues} | {(each.device, each.inode) for each in shm}
    for file in files:
        if file.mount_id in mount_ids or (file.device, file.inode) in shared:
            yield file
