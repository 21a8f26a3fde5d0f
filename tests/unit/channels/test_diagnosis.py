"""Each diagnosis with a pod that provokes it and one that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.channel_world import World, make_file
from podhost.channels.snapshot import ContainerFacts, VolumeFile, VolumeMount
from podhost.linux.ipc_tables import IpcTables, SysvQueue
from podhost.linux.proc import BlockedCall, BlockedOpen
from podhost.linux.sock_diag import InetSocket
from podhost.linux.syscall_trace import MissedLookup

QUEUE = SysvQueue(id=3, key=0x10, mode=0o600, uid=0, bytes=9, messages=2, last_sender=100, last_receiver=0)
Arrange = Callable[[World], None]


def declare(world: World, container: str, port: int) -> None:
    world.container(container)["ports"] = [{"containerPort": port}]


def declared_and_served(world: World) -> None:
    declare(world, "a", 80)
    world.listen(100, "0.0.0.0", 80)


def declared_only(world: World) -> None:
    declare(world, "a", 80)


def declared_by_a_container_that_does_not_run(world: World) -> None:
    declare(world, "a", 80)
    target = world.snapshot.target
    stopped = (ContainerFacts(name="a", state="exited"), target.containers[1])
    world.change(target=replace(target, containers=stopped))


def served_by_the_other(world: World) -> None:
    declare(world, "a", 80)
    world.listen(200, "0.0.0.0", 80)


def declared_twice(world: World) -> None:
    declare(world, "a", 80)
    declare(world, "b", 80)
    world.listen(100, "0.0.0.0", 80)


def failed_for_a_port(world: World) -> None:
    world.listen(100, "0.0.0.0", 80)
    world.log("b", "starting", "bind() to 0.0.0.0:80 failed (98: Address already in use)")


def failed_once_but_has_it_now(world: World) -> None:
    world.listen(200, "0.0.0.0", 80)
    world.log("b", "bind() to 0.0.0.0:80 failed (98: Address already in use)")


def failed_for_a_declared_port(world: World) -> None:
    declare(world, "b", 80)
    world.listen(100, "0.0.0.0", 80)
    world.log("b", "OSError: [Errno 98] Address already in use")


def failed_for_a_port_of_its_command(world: World) -> None:
    world.container("b")["command"] = ["python3", "-m", "http.server", "80"]
    world.listen(100, "0.0.0.0", 80)
    world.log("b", "OSError: [Errno 98] Address already in use")


def failed_for_a_port_that_is_not_the_pods(world: World) -> None:
    world.container("b")["command"] = ["python3", "-m", "http.server", "80"]
    world.change(inet=(InetSocket("tcp", 4, "LISTEN", "0.0.0.0", 80, "0.0.0.0", 0, 9, 0),))
    world.log("b", "OSError: [Errno 98] Address already in use")


def failed_otherwise_with_a_port_in_its_command(world: World) -> None:
    world.container("b")["command"] = ["python3", "-m", "http.server", "80"]
    world.listen(100, "0.0.0.0", 80)
    world.log("b", "OSError: [Errno 13] Permission denied")


def service_to(address: str) -> Arrange:
    def arrange(world: World) -> None:
        world.service("svc", 80, 8080)
        if address:
            world.listen(100, address, 8080)

    return arrange


def probe(address: str, **probe_of: object) -> Arrange:
    def arrange(world: World) -> None:
        world.container("a")["livenessProbe"] = probe_of or {"httpGet": {"port": 90}}
        if address:
            world.listen(100, address, 90)

    return arrange


def queue(*, received: bool = False, waits: bool = False, sent: bool = True) -> Arrange:
    def arrange(world: World) -> None:
        one = replace(
            QUEUE,
            last_receiver=200 if received else 0,
            last_sender=100 if sent else 0,
            messages=2 if sent and not waits else 0,
        )
        world.change(ipc=IpcTables(queues=(one,)), blocked=(BlockedCall(200, "msgrcv", 3),) if waits else ())

    return arrange


def fifo(*, waits: bool, partner: bool) -> Arrange:
    def arrange(world: World) -> None:
        pipe = VolumeFile(name="pipe", kind="fifo", size_bytes=0, modified_ns=0, device=1, inode=70)
        mount = VolumeMount(container="b", mount_point="/y", mount_id=22, read_only=False, files=(pipe,))
        opened = make_file(100, "/x/pipe", inode=70, mount_id=11, mode="w", kind="fifo")
        opening = BlockedOpen(200, "/y/pipe", writes=False)
        world.change(mounts=(mount,), files=(opened,) if partner else (), opening=(opening,) if waits else ())

    return arrange


def volume(*, shared: bool, files: bool = True, writers: int = 0) -> Arrange:
    def arrange(world: World) -> None:
        world.pod["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
        for name in ("a", "b") if shared else ("a",):
            world.container(name)["volumeMounts"] = [{"name": "v", "mountPath": "/x"}]
        data = VolumeFile(name="data", kind="file", size_bytes=5, modified_ns=0, device=1, inode=60)
        mounts = [
            VolumeMount(container=name, mount_point="/x", mount_id=number, read_only=False, files=(data,) * files)
            for name, number in (("a", 11), ("b", 22))
        ]
        opened = [make_file(100 * n, "/x/data", inode=60, mount_id=11 * n, mode="w") for n in range(1, writers + 1)]
        world.change(mounts=tuple(mounts[: 1 + shared]), files=tuple(opened))

    return arrange


def read_only_write(*, read_only: bool) -> Arrange:
    def arrange(world: World) -> None:
        volume(shared=True)(world)
        world.container("b")["volumeMounts"][0]["readOnly"] = read_only
        world.log("b", "sh: 1: cannot create /x/data: Read-only file system")

    return arrange


def asks(call: str, count: int, *, pid: int = 200, key: int = 0, name: str = "") -> Arrange:
    def arrange(world: World) -> None:
        world.change(missed=(MissedLookup(pid=pid, call=call, count=count, key=key, name=name),))

    return arrange


def asks_for_a_queue_that_was_made_meanwhile(world: World) -> None:
    asks("msgget", 9, key=QUEUE.key)(world)
    world.change(ipc=IpcTables(queues=(replace(QUEUE, messages=0),)))


@pytest.mark.parametrize(
    ("arrange", "codes"),
    [
        (declared_and_served, []),
        (asks("msgget", 9, key=0x10), ["ipc-object-missing"]),
        (asks("mq_open", 2, name="/q"), ["ipc-object-missing"]),
        (asks("semget", 1, key=0x10), []),
        (asks("shmget", 9, key=0x10, pid=999), []),
        (asks_for_a_queue_that_was_made_meanwhile, []),
        (declared_only, ["port-not-served"]),
        (declared_by_a_container_that_does_not_run, []),
        (served_by_the_other, ["port-of-another-container"]),
        (declared_twice, ["port-wanted-twice"]),
        (failed_for_a_port, ["port-in-use"]),
        (failed_for_a_port_of_its_command, ["port-in-use"]),
        (failed_for_a_port_that_is_not_the_pods, []),
        (failed_otherwise_with_a_port_in_its_command, []),
        (failed_for_a_declared_port, ["port-in-use", "port-of-another-container"]),
        (failed_once_but_has_it_now, []),
        (service_to("0.0.0.0"), []),
        (service_to("10.0.0.2"), []),
        (service_to("127.0.0.1"), ["service-target-on-loopback"]),
        (service_to(""), ["service-target-not-served"]),
        (probe("0.0.0.0"), []),
        (probe("127.0.0.1"), ["probe-port-not-served"]),
        (probe("127.0.0.1", httpGet={"port": 90, "host": "127.0.0.1"}), []),
        (probe("", tcpSocket={"port": 90, "host": "example.org"}), []),
        (probe("", exec={"command": ["true"]}), []),
        (probe(""), ["probe-port-not-served"]),
        (queue(received=True), []),
        (queue(), ["queue-not-read"]),
        (queue(waits=True), []),
        (queue(waits=True, sent=False), ["queue-never-written"]),
        (fifo(waits=True, partner=False), ["fifo-without-partner"]),
        (fifo(waits=True, partner=True), []),
        (fifo(waits=False, partner=False), []),
        (volume(shared=True), []),
        (volume(shared=False), ["volume-not-shared"]),
        (volume(shared=False, files=False), []),
        (volume(shared=True, writers=1), []),
        (volume(shared=True, writers=2), ["file-written-twice"]),
        (read_only_write(read_only=True), ["write-to-read-only-mount"]),
        (read_only_write(read_only=False), []),
    ],
)
def test_problems_are_found_where_they_are_and_nowhere_else(world: World, arrange: Arrange, codes: list[str]) -> None:
    arrange(world)
    assert world.codes() == codes
    for problem in world.graph().problems:
        assert problem.evidence, "no problem without evidence"
        assert problem.suggestion


def test_a_port_conflict_names_port_container_and_process(world: World) -> None:
    failed_for_a_port(world)
    (problem,) = world.graph().problems
    assert problem.message == 'container "b" wants port 80, which container "a" (process alpha, pid 100) holds'


def test_a_problem_marks_its_channel(world: World) -> None:
    volume(shared=True, writers=2)(world)
    (channel,) = world.graph().channels
    assert channel.problems == ("file-written-twice",)
