"""What pods use as a whole, read from their cgroups."""

from __future__ import annotations

from typing import Any

Machine = Any


async def test_pod_has_what_its_containers_have_together(machine: Machine) -> None:
    sandbox, idle = await machine.sandbox(), await machine.sandbox()
    ids = [await machine.start(sandbox, "sleep", "1000", name=name) for name in ("a", "b")]
    uids = [sandbox.uid, idle.uid]
    (pod,) = await machine.service.list_pod_sandbox_stats(uids)
    containers = await machine.service.list_container_stats(uids)
    assert {each.id for each in containers} == set(ids)
    assert (pod.pod_uid, pod.process_count) == (sandbox.uid, 2)
    assert pod.created_at_ns == next(
        each.created_at_ns for each in machine.service.list_pod_sandboxes() if each.id == sandbox.id
    )
    assert pod.cpu.usage_core_ns >= max(each.cpu.usage_core_ns for each in containers)
    assert pod.memory.usage_bytes >= max(each.memory.usage_bytes for each in containers)
    for container in ids:
        await machine.service.stop_container(container, 0)
    assert await machine.service.list_pod_sandbox_stats(uids) == []
