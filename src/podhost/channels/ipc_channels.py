"""System V and POSIX IPC as channels.  Pure."""

from __future__ import annotations

from podhost.channels.attribution import Attribution
from podhost.channels.graph import Channel, End, Role
from podhost.linux.ipc_tables import PosixQueue, ShmFile, SysvQueue, SysvSegment, SysvSemaphores


def build_ipc_channels(who: Attribution) -> tuple[Channel, ...]:
    """All of the pod's IPC namespace; of the host's only what the pod's processes use."""
    tables = who.snapshot.ipc
    found = (
        *(_sysv_queue(who, queue) for queue in tables.queues),
        *(_sysv_segment(who, segment) for segment in tables.segments),
        *(_sysv_semaphores(who, each) for each in tables.semaphores),
        *(_posix_queue(who, queue) for queue in tables.posix_queues),
        *(_shm_file(who, file) for file in who.snapshot.shm),
    )
    return tuple(each for each in found if each.ends) if who.snapshot.target.host_ipc else found


def format_key(key: int) -> str:
    return "private" if key == 0 else f"0x{key:08x}"


def format_size(count: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} GiB"


def _waiting(count: int) -> str:
    return f"{count} message{'' if count == 1 else 's'} waiting"


def _sysv_queue(who: Attribution, queue: SysvQueue) -> Channel:
    ends: list[End] = []
    pairs: tuple[tuple[int, Role, str], ...] = (
        (queue.last_sender, "sender", "msgsnd"),
        (queue.last_receiver, "receiver", "msgrcv"),
    )
    for last, role, call in pairs:
        waiting = [b.pid for b in who.snapshot.blocked if b.call == call and b.argument == queue.id]
        ends.extend(who.end_of_pids(waiting, role, detail="waiting"))
        if last and who.container_of(last) not in {end.container for end in ends if end.role == role}:
            ends.extend(who.end_of_pids((last,), role))
    summary = f"{_waiting(queue.messages)}, {format_size(queue.bytes)}, uid {queue.uid}"
    if not queue.last_sender:
        summary += ", nobody has sent"
    if not queue.last_receiver:
        summary += ", nobody has received"
    return Channel(
        id=f"sysv-queue:{queue.id}",
        kind="sysv-queue",
        name=f"System V queue {format_key(queue.key)}",
        summary=summary,
        facts={
            "key": format_key(queue.key),
            "id": queue.id,
            "messages": queue.messages,
            "bytes": queue.bytes,
            "uid": queue.uid,
            "mode": f"{queue.mode:04o}",
            "lastSender": queue.last_sender,
            "lastReceiver": queue.last_receiver,
        },
        ends=tuple(ends),
    )


def _sysv_segment(who: Attribution, segment: SysvSegment) -> Channel:
    name = f"/SYSV{segment.key:08x}"
    users = [m.pid for m in who.snapshot.mappings if m.path == name and m.inode == segment.id]
    ends = who.end_of_pids(users, "user", detail="attached")
    seen = {end.container for end in ends}
    made = tuple(
        end for end in who.end_of_pids((segment.creator,), "user", detail="made it") if end.container not in seen
    )
    attached = f"{segment.attached} attached" if segment.attached else "nobody attached"
    return Channel(
        id=f"sysv-shm:{segment.id}",
        kind="sysv-shm",
        name=f"System V memory {format_key(segment.key)}",
        summary=f"{format_size(segment.size_bytes)}, {attached}, uid {segment.uid}",
        facts={
            "key": format_key(segment.key),
            "id": segment.id,
            "bytes": segment.size_bytes,
            "attached": segment.attached,
            "uid": segment.uid,
            "mode": f"{segment.mode & 0o777:04o}",
            "creator": segment.creator,
        },
        ends=(*made, *ends),
    )


def _sysv_semaphores(who: Attribution, semaphores: SysvSemaphores) -> Channel:
    """The kernel tells of no process; owner and mode are all there is."""
    return Channel(
        id=f"sysv-semaphores:{semaphores.id}",
        kind="sysv-semaphores",
        name=f"System V semaphores {format_key(semaphores.key)}",
        summary=f"{semaphores.count} in the set, uid {semaphores.uid}",
        facts={
            "key": format_key(semaphores.key),
            "id": semaphores.id,
            "count": semaphores.count,
            "uid": semaphores.uid,
            "mode": f"{semaphores.mode:04o}",
        },
    )


def _posix_queue(who: Attribution, queue: PosixQueue) -> Channel:
    opened = [f for f in who.snapshot.files if (f.device, f.inode) == (queue.device, queue.inode)]
    senders = [f.pid for f in opened if f.writable and not f.readable]
    receivers = [f.pid for f in opened if f.readable and not f.writable]
    both = [f.pid for f in opened if f.readable and f.writable]
    return Channel(
        id=f"posix-queue:{queue.name}",
        kind="posix-queue",
        name=f"POSIX queue {queue.name}",
        summary=f"{queue.messages} of {queue.max_messages} messages, {format_size(queue.bytes)}, uid {queue.uid}",
        facts={
            "name": queue.name,
            "messages": queue.messages,
            "maxMessages": queue.max_messages,
            "messageSize": queue.message_size_bytes,
            "bytes": queue.bytes,
            "uid": queue.uid,
            "mode": f"{queue.mode:04o}",
        },
        ends=(
            *who.end_of_pids(senders, "sender"),
            *who.end_of_pids(both, "user", detail="sends and receives"),
            *who.end_of_pids(receivers, "receiver"),
        ),
    )


def _shm_file(who: Attribution, file: ShmFile) -> Channel:
    opened = [f.pid for f in who.snapshot.files if (f.device, f.inode) == (file.device, file.inode)]
    path = f"/dev/shm{file.name}"
    mapped = [m.pid for m in who.snapshot.mappings if m.path == path and m.inode == file.inode]
    is_semaphore = file.name.startswith("/sem.")
    name = f"POSIX semaphore /{file.name[5:]}" if is_semaphore else f"POSIX memory {file.name}"
    return Channel(
        id=f"posix-shm:{file.name}",
        kind="posix-shm",
        name=name,
        summary=f"{format_size(file.size_bytes)}, uid {file.uid}",
        facts={"name": file.name, "bytes": file.size_bytes, "uid": file.uid, "mode": f"{file.mode:04o}"},
        ends=who.end_of_pids(sorted({*opened, *mapped}), "user"),
    )
