"""Facts become channels: who is at which end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.channel_world import World, make_file, make_process
from podhost.channels.graph import build_document, read_document
from podhost.channels.snapshot import VolumeFile, VolumeMount
from podhost.linux.ipc_tables import IpcTables, PosixQueue, ShmFile, SysvQueue, SysvSegment
from podhost.linux.proc import BlockedCall, MappedFile
from podhost.linux.sock_diag import InetSocket, UnixSocket


def ends(world: World, kind: str) -> list[list[tuple[str, str]]]:
    return [[(e.place, e.role) for e in c.ends] for c in world.graph().channels if c.kind == kind]


def test_a_connection_over_loopback_goes_from_client_to_server(world: World) -> None:
    world.listen(200, "127.0.0.1", 5000)
    for port in (4001, 4002):
        world.connect(100, ("127.0.0.1", port), ("127.0.0.1", 5000))
        world.connect(200, ("127.0.0.1", 5000), ("127.0.0.1", port))
    (channel,) = [c for c in world.graph().channels if c.kind == "tcp"]
    assert [(end.container, end.role, end.processes) for end in channel.ends] == [
        ("a", "client", ("alpha[100]",)),
        ("b", "server", ("beta[200]",)),
    ]
    assert (channel.name, channel.summary) == ("tcp 127.0.0.1:5000", "2 connections")


def test_a_connection_that_waits_to_be_accepted_belongs_to_the_listener(world: World) -> None:
    world.listen(200, "127.0.0.1", 5000)
    world.connect(100, ("127.0.0.1", 4001), ("127.0.0.1", 5000))
    world.change(
        inet=(*world.snapshot.inet, InetSocket("tcp", 4, "ESTABLISHED", "127.0.0.1", 5000, "127.0.0.1", 4001, 0, 0))
    )
    assert ends(world, "tcp") == [[("a", "client"), ("b", "server")]]


def test_a_connection_that_its_process_has_closed_is_nobodys(world: World) -> None:
    closing = InetSocket("tcp", 4, "FIN_WAIT2", "127.0.0.1", 4001, "127.0.0.1", 5000, 0, 0)
    world.listen(200, "127.0.0.1", 5000)
    world.change(inet=(*world.snapshot.inet, closing), target=replace(world.snapshot.target, netns=Path("/ns")))
    world.connect(200, ("127.0.0.1", 5000), ("127.0.0.1", 4002))
    assert ends(world, "tcp") == []


def test_peers_are_named_by_service_pod_and_host(world: World) -> None:
    other = {"metadata": {"name": "db", "namespace": "m"}, "spec": {}, "status": {"podIPs": [{"ip": "10.0.0.9"}]}}
    world.service("svc", 80, 80)
    world.around = replace(world.around, pods=(other,), host_addresses=("10.0.0.1",))
    world.listen(100, "0.0.0.0", 80)
    world.connect(100, ("10.0.0.2", 5), ("10.9.0.1", 80))
    world.connect(100, ("10.0.0.2", 6), ("10.0.0.9", 5432))
    world.connect(100, ("10.0.0.2", 80), ("10.0.0.1", 7))
    world.connect(100, ("10.0.0.2", 8), ("8.8.8.8", 53))
    assert sorted(ends(world, "tcp")) == [
        [("a", "client"), ("outside 8.8.8.8", "server")],
        [("a", "client"), ("pod m/db", "server")],
        [("a", "client"), ("service n/svc", "server")],
        [("this host", "client"), ("a", "server")],
    ]


def test_a_listener_knows_its_declared_port_and_services(world: World) -> None:
    world.container("a")["ports"] = [{"containerPort": 80, "name": "http"}]
    world.service("svc", 8080, "http")
    world.listen(100, "0.0.0.0", 80)
    world.listen(200, "0.0.0.0", 53, "udp")
    first, second = world.graph().listeners
    assert (first.endpoint, first.container, first.port_name, first.services) == ("*:80", "a", "http", ("n/svc",))
    assert (second.protocol, second.endpoint, second.container, second.declared) == ("udp", "*:53", "b", False)


def test_workers_that_share_a_listening_socket_are_one_listener_of_the_oldest(world: World) -> None:
    world.change(processes={**world.snapshot.processes, 101: ("a", make_process(101, "worker"))})
    world.listen(101, "0.0.0.0", 80)
    world.change(socket_owners={1000: (101, 100)})
    (listener,) = world.graph().listeners
    assert (listener.pid, listener.process) == (100, "alpha")


QUEUE = SysvQueue(id=3, key=0x10, mode=0o600, uid=0, bytes=9, messages=2, last_sender=100, last_receiver=0)


def test_a_queue_has_its_sender_its_receiver_and_who_waits(world: World) -> None:
    world.change(ipc=IpcTables(queues=(QUEUE,)), blocked=(BlockedCall(200, "msgrcv", 3),))
    assert ends(world, "sysv-queue") == [[("a", "sender"), ("b", "receiver")]]


def test_a_sender_that_has_ended_is_known_when_it_was_seen_alive(world: World) -> None:
    world.change(ipc=IpcTables(queues=(replace(QUEUE, last_sender=77),)))
    assert ends(world, "sysv-queue") == [[]]
    world.change(target=replace(world.snapshot.target, earlier_pids={77: "b"}))
    assert ends(world, "sysv-queue") == [[("b", "sender")]]


def test_ipc_of_the_host_counts_only_when_the_pod_uses_it(world: World) -> None:
    world.change(target=replace(world.snapshot.target, host_ipc=True))
    world.change(ipc=IpcTables(queues=(replace(QUEUE, last_sender=77), replace(QUEUE, id=4))))
    assert ends(world, "sysv-queue") == [[("a", "sender")]]


def test_shared_memory_belongs_to_those_that_have_it_mapped(world: World) -> None:
    segment = SysvSegment(id=5, key=0x20, mode=0o600, uid=0, size_bytes=10, creator=100, last_user=0, attached=1)
    file = ShmFile(name="/area", mode=0o600, uid=0, size_bytes=4096, device=9, inode=12)
    mappings = (MappedFile(200, "/SYSV00000020", 5, True), MappedFile(100, "/dev/shm/area", 12, True))
    world.change(ipc=IpcTables(segments=(segment,)), shm=(file,), mappings=mappings)
    assert ends(world, "sysv-shm") == [[("a", "user"), ("b", "user")]]
    assert ends(world, "posix-shm") == [[("a", "user")]]


def test_a_posix_queue_belongs_to_those_that_have_it_open(world: World) -> None:
    queue = PosixQueue(
        name="/q", mode=0o600, uid=0, messages=1, max_messages=10, message_size_bytes=8, bytes=3,
        notified_pid=0, device=1, inode=50,
    )  # fmt: skip
    files = (
        make_file(100, "/q", inode=50, mount_id=0, mode="w"),
        make_file(200, "/q", inode=50, mount_id=0, mode="r"),
    )
    world.change(ipc=IpcTables(posix_queues=(queue,)), files=files)
    assert ends(world, "posix-queue") == [[("a", "sender"), ("b", "receiver")]]


def test_unix_sockets_join_client_and_server(world: World) -> None:
    unix = (
        UnixSocket("stream", "LISTEN", 1, "/run/x.sock"),
        UnixSocket("stream", "ESTABLISHED", 2, "/run/x.sock", peer_inode=3),
        UnixSocket("stream", "ESTABLISHED", 3, "", peer_inode=2),
    )
    world.change(unix=unix, socket_owners={1: (100,), 2: (100,), 3: (200,)})
    assert ends(world, "unix") == [[("b", "client"), ("a", "server")]]
    assert world.graph().channels[0].summary == "stream, 1 connection"


def share_volume(world: World, *, read_only: bool = False) -> None:
    world.pod["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
    world.container("a")["volumeMounts"] = [{"name": "v", "mountPath": "/x/"}]
    world.container("b")["volumeMounts"] = [{"name": "v", "mountPath": "/y", "readOnly": read_only}]
    data = VolumeFile(name="data", kind="file", size_bytes=5, modified_ns=0, device=1, inode=60)
    world.change(
        mounts=(
            VolumeMount(container="a", mount_point="/x", mount_id=11, read_only=False, files=(data,)),
            VolumeMount(container="b", mount_point="/y", mount_id=22, read_only=read_only, files=(data,)),
        )
    )


def test_a_volume_joins_writer_and_reader_by_their_open_files(world: World) -> None:
    share_volume(world)
    world.change(
        files=(
            make_file(100, "/x/data", inode=60, mount_id=11, mode="w"),
            make_file(200, "/y/data", inode=60, mount_id=22, mode="r"),
        )
    )
    (channel,) = world.graph().channels
    assert [(e.container, e.role, e.detail) for e in channel.ends] == [
        ("a", "writer", "/x rw, writes data"),
        ("b", "reader", "/y rw, reads data"),
    ]


def test_a_fifo_in_a_volume_joins_its_ends(world: World) -> None:
    share_volume(world)
    world.change(
        files=(
            make_file(100, "/x/pipe", inode=70, mount_id=11, mode="w", kind="fifo"),
            make_file(200, "/y/pipe", inode=70, mount_id=22, mode="r", kind="fifo"),
        )
    )
    assert ends(world, "fifo") == [[("a", "sender"), ("b", "receiver")]]


def test_a_shared_process_namespace_joins_all(world: World) -> None:
    assert ends(world, "pid-namespace") == []
    world.pod["spec"]["shareProcessNamespace"] = True
    assert ends(world, "pid-namespace") == [[("a", "user"), ("b", "user")]]


def test_the_resource_holds_the_whole_graph(world: World) -> None:
    share_volume(world)
    world.listen(100, "127.0.0.1", 80)
    world.service("svc", 80, 80)
    graph = world.graph()
    assert graph.problems
    assert read_document(build_document(graph, {"name": "p", "namespace": "n", "uid": "u"})) == graph
