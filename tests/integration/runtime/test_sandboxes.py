"""What containers see of their pod, and variants of sandboxes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from podhost.cri.runtime import DnsConfig, HostAlias, LinuxResources, Mount, SandboxState, SecurityConfig
from podhost.linux import cgroup
from podhost.linux.fs import remove_tree

Machine = Any


async def test_pod_files_are_those_of_a_kubelet(machine: Machine) -> None:
    sandbox = await machine.sandbox(
        fqdn="pod1.sub.default.svc.cluster.local",
        host_aliases=(HostAlias(ip="1.2.3.4", hostnames=("a", "b")),),
        dns=DnsConfig(servers=("10.96.0.10",), searches=("default.svc.cluster.local",), options=("ndots:5",)),
    )
    out = await machine.run(sandbox, "cat", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
    assert out.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.11.12.13\tpod1.sub.default.svc.cluster.local\tpod1\n" in out
    assert "\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\npod1\n" in out
    assert out.endswith("search default.svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n")


async def test_shm_has_the_asked_size_and_sysctls_are_set(machine: Machine) -> None:
    sandbox = await machine.sandbox(shm_size_bytes=1 << 20, sysctls={"kernel.shm_rmid_forced": "1"})
    out = await machine.run(sandbox, "sh", "-c", "grep /dev/shm /proc/mounts; cat /proc/sys/kernel/shm_rmid_forced")
    assert "size=1024k" in out
    assert out.endswith("\n1\n")


async def test_default_capabilities_and_seccomp_are_in_force(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    for _ in range(2):  # compiled by crun, then from the cache
        out = await machine.run(sandbox, "grep", "-E", "CapEff|Seccomp:|NoNewPrivs", "/proc/self/status")
        assert out.split() == ["CapEff:", "00000000a80425fb", "NoNewPrivs:", "0", "Seccomp:", "2"]
    assert len(list((machine.settings.data_dir / "seccomp").glob("*.bpf"))) == 1


async def test_mount_is_refused_by_default_and_possible_when_privileged(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    script = "mount -t tmpfs none /tmp && echo mounted"
    refused = await machine.start(sandbox, "sh", "-c", script, security=SecurityConfig(capabilities_add=("SYS_ADMIN",)))
    await machine.wait_exited(refused)
    plain = await machine.start(sandbox, "sh", "-c", script)
    assert (await machine.wait_exited(plain)).exit_code != 0
    assert await machine.run(sandbox, "sh", "-c", script, security=SecurityConfig(privileged=True)) == "mounted\n"


async def test_mounts_and_read_only_root(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    sandbox = await machine.sandbox()
    out = await machine.run(
        sandbox,
        "sh",
        "-c",
        "cat /data/file; echo x > /data/new || echo ro; echo y > /tmp/y || echo ro",
        mounts=(Mount(container_path="/data", host_path=tmp_path, read_only=True),),
        security=SecurityConfig(read_only_rootfs=True),
    )
    assert "content\n" in out
    assert out.count("\nro") == 2


async def test_out_of_memory_is_told(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    container = await machine.start(
        sandbox,
        "sh",
        "-c",
        "dd if=/dev/zero of=/dev/null bs=200M count=1",
        resources=LinuxResources(memory_limit_bytes=16 << 20),
    )
    status = await machine.wait_exited(container)
    assert (status.reason, status.exit_code) == ("OOMKilled", 137)


async def test_child_out_of_memory_is_told_of_its_container_and_of_no_other(machine: Machine) -> None:
    """With cgroup version 2 the container dies whole; with version 1 it may go on, and exits as it likes."""
    sandbox = await machine.sandbox()
    eat = "dd if=/dev/zero of=/dev/null bs=200M count=1; exit 0"
    limit = LinuxResources(memory_limit_bytes=16 << 20)
    hungry = await machine.start(sandbox, "sh", "-c", eat, name="hungry", resources=limit)
    modest = await machine.start(sandbox, "sh", "-c", "true; exit 0", name="modest", resources=limit)
    ends = [await machine.wait_exited(each) for each in (hungry, modest)]
    code = 137 if cgroup.detect().version == 2 else 0
    assert [(each.reason, each.exit_code) for each in ends] == [("OOMKilled", code), ("Completed", 0)]


async def test_host_namespaces_are_the_hosts(machine: Machine) -> None:
    sandbox = await machine.sandbox(host_network=True, host_ipc=True, host_pid=True)
    assert sandbox.netns_path is None
    out = await machine.run(sandbox, "sh", "-c", "for k in net ipc uts pid; do readlink /proc/self/ns/$k; done")
    assert out.split() == [os.readlink(f"/proc/self/ns/{k}") for k in ("net", "ipc", "uts", "pid")]
    assert machine.network.attached == set()


@pytest.mark.skipif(not Path("/usr/bin/catatonit").exists(), reason="needs catatonit")
async def test_shared_process_namespace_survives_its_containers(machine: Machine) -> None:
    sandbox = await machine.sandbox(share_process_namespace=True)
    one = await machine.start(sandbox, "sleep", "1001", name="one")
    two = await machine.start(sandbox, "sleep", "1002", name="two")
    listing = (await machine.service.exec_sync(two, ("ps",), 5)).stdout.decode()
    assert "catatonit -P" in listing
    assert "sleep 1001" in listing
    await machine.service.stop_container(one, 0)
    assert (await machine.service.exec_sync(two, ("ps",), 5)).stdout.count(b"sleep 100") == 1
    service = await machine.restart()
    assert service.list_pod_sandboxes()[0].state is SandboxState.READY
    assert (await service.exec_sync(two, ("true",), 5)).exit_code == 0


async def test_background_processes_end_with_their_container_in_a_shared_namespace(machine: Machine) -> None:
    if machine.settings.catatonit_path is None:
        pytest.skip("needs catatonit")
    sandbox = await machine.sandbox(share_process_namespace=True)
    watcher = await machine.start(sandbox, "sleep", "1000", name="watcher")
    container = await machine.start(sandbox, "sh", "-c", "setsid sleep 1003 & exit 0")
    await machine.wait_exited(container)
    await machine.service.remove_container(container)
    assert b"sleep 1003" not in (await machine.service.exec_sync(watcher, ("ps",), 5)).stdout


@pytest.mark.parametrize("daemon_lives", [True, False])
async def test_a_container_whose_monitor_was_killed_is_ended(machine: Machine, daemon_lives: bool) -> None:
    container = await machine.start(await machine.sandbox(), "sleep", "1000")
    pid = int((machine.settings.run_dir / "containers" / container / "conmon.pid").read_text())
    if not daemon_lives:
        await machine.service.close()
    os.kill(pid, signal.SIGKILL)
    if not daemon_lives:
        await machine.restart()
    await machine.wait_exited(container)
    status = machine.service.container_status(container)
    assert (status.reason, status.exit_code) == ("Error", 137)
    assert "monitor (conmon) was killed" in status.message


async def test_sandbox_of_a_former_boot_is_not_ready(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    container = await machine.start(sandbox, "sleep", "1000")
    await machine.service.stop_container(container, 0)
    record = machine.settings.data_dir / "sandboxes" / f"{sandbox.id}.json"
    text = record.read_text()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert boot in text
    record.write_text(text.replace(boot, "another"))
    service = await machine.restart()
    assert service.list_pod_sandboxes()[0].state is SandboxState.NOTREADY


async def test_broken_record_does_not_stop_the_start(machine: Machine) -> None:
    good, bad = await machine.sandbox(), await machine.sandbox()
    container = await machine.start(bad, "sleep", "1000")
    (machine.settings.data_dir / "containers" / f"{container}.json").write_text("{")
    (machine.settings.data_dir / "sandboxes" / f"{bad.id}.json").write_text("[]")
    service = await machine.restart()
    assert [sandbox.id for sandbox in service.list_pod_sandboxes()] == [good.id]
    for broken in machine.settings.data_dir.glob("*/*.broken"):
        await asyncio.to_thread(remove_tree, broken)
