"""What happens when a container has exited: facts on disk first, then the event, then the cleaning.

On a full disk the exit cannot be recorded.  conmon's exit file then stays as the fact on disk, from which the next
daemon records it; this one goes on with the record in memory.
"""

from __future__ import annotations

import asyncio
import logging

from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ContainerEventType, ContainerState
from podhost.errors import describe_cause
from podhost.linux import cgroup
from podhost.linux.fs import remove_tree
from podhost.runtime.context import RuntimeContext
from podhost.runtime.exit_monitor import ExitFact
from podhost.runtime.oci_runtime import remove_runtime_traces
from podhost.runtime.records import ContainerRecord, build_exited_record, compute_container_state
from podhost.runtime.registry import ContainerEntry

_log = logging.getLogger(__name__)

UNKNOWN_EXIT_CODE = 255
UNKNOWN_REASON = "Unknown"
"""Of an end that nobody saw, after a reboot for one; containerd's words."""


async def on_container_exit(ctx: RuntimeContext, container_id: ContainerId, fact: ExitFact | None) -> None:
    """Record the exit once.  Called by the exit monitor and by recovery; an exit already recorded is ignored."""
    entry = ctx.registry.find_container(container_id)
    if entry is None:
        return
    async with entry.lock:
        if compute_container_state(entry.record) is not ContainerState.RUNNING:
            return
        record = await asyncio.to_thread(_build_record, ctx, entry, fact)
        saved = await asyncio.to_thread(_save, ctx, record)
        ctx.registry.replace_container(entry, record)
        ctx.registry.emit(ContainerEventType.STOPPED, entry)
        await asyncio.to_thread(clean_up_runtime, ctx, entry, keep_exit_file=not saved)


def _save(ctx: RuntimeContext, record: ContainerRecord) -> bool:
    try:
        ctx.registry.files.save_container(record)
    except OSError as error:
        _log.warning("container %s: cannot record its exit: %s", record.id, describe_cause(error))
        return False
    return True


def _build_record(ctx: RuntimeContext, entry: ContainerEntry, fact: ExitFact | None) -> ContainerRecord:
    if fact is None:
        return build_exited_record(
            entry.record,
            finished_at_ns=ctx.clock.now_ns(),
            exit_code=UNKNOWN_EXIT_CODE,
            reason=UNKNOWN_REASON,
        )
    killed = _was_oom_killed(ctx, entry)
    return build_exited_record(
        entry.record,
        finished_at_ns=fact.finished_at_ns,
        exit_code=fact.exit_code,
        reason="OOMKilled" if killed else "",
        message=fact.message,
    )


def _was_oom_killed(ctx: RuntimeContext, entry: ContainerEntry) -> bool:
    """Whether any process of the container was, its first or a child; as with containerd, whatever the exit code."""
    bundle = ctx.paths.bundle(entry.record.id)
    if bundle.oom_file.exists() or (bundle.persist / "oom").exists():
        return True
    return cgroup.oom_kill_count(entry.cgroup) > 0


def clean_up_runtime(ctx: RuntimeContext, entry: ContainerEntry, *, keep_exit_file: bool = False) -> None:
    """Kill what is left in the cgroup (shared and host PID namespaces keep it), remove cgroup, state, exit file.

    Failures are logged: removal of the container tries again.  Blocking.
    """
    container_id = entry.record.id
    try:
        remove_runtime_traces(ctx.paths, container_id, entry.cgroup)
        if not keep_exit_file:
            remove_tree(ctx.paths.exit_file(container_id))
    except OSError as error:
        _log.warning("container %s: cleaning up after its exit failed: %s", container_id, error)
