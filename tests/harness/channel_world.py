"""A snapshot in a few words: the base case that each table row changes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from podhost.channels.build import Surroundings, build_graph
from podhost.channels.graph import ChannelGraph
from podhost.channels.snapshot import ContainerFacts, PodSnapshot, PodTarget
from podhost.linux.proc import OpenFile, ProcessFacts
from podhost.linux.sock_diag import InetSocket


@dataclass
class World:
    """Pod ``p`` with the containers ``a`` (pid 100) and ``b`` (pid 200)."""

    pod: dict[str, Any] = field(
        default_factory=lambda: {
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "p"}},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "volumes": []},
            "status": {"podIPs": [{"ip": "10.0.0.2"}]},
        }
    )
    snapshot: PodSnapshot = field(
        default_factory=lambda: PodSnapshot(
            target=PodTarget(
                namespace="n",
                name="p",
                uid="u",
                containers=(
                    ContainerFacts(name="a", state="running", pid=100),
                    ContainerFacts(name="b", state="running", pid=200),
                ),
            ),
            processes={100: ("a", make_process(100, "alpha")), 200: ("b", make_process(200, "beta"))},
        )
    )
    around: Surroundings = field(default_factory=Surroundings)

    def container(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(c for c in self.pod["spec"]["containers"] if c["name"] == name)
        return found

    def change(self, **facts: Any) -> None:
        self.snapshot = replace(self.snapshot, **facts)

    def add_sockets(self, *sockets: tuple[int, InetSocket]) -> None:
        """(pid, socket)."""
        owners = dict(self.snapshot.socket_owners)
        for pid, sock in sockets:
            owners[sock.inode] = (*owners.get(sock.inode, ()), pid)
        self.change(inet=(*self.snapshot.inet, *(sock for _, sock in sockets)), socket_owners=owners)

    def listen(self, pid: int, address: str, port: int, protocol: Any = "tcp") -> None:
        state = "LISTEN" if protocol == "tcp" else "CLOSE"
        sock = InetSocket(protocol, 4, state, address, port, "0.0.0.0", 0, 1000 + len(self.snapshot.inet), 0)
        self.add_sockets((pid, sock))

    def connect(self, pid: int, local: tuple[str, int], remote: tuple[str, int]) -> None:
        sock = InetSocket("tcp", 4, "ESTABLISHED", *local, *remote, 1000 + len(self.snapshot.inet), 0)
        self.add_sockets((pid, sock))

    def service(self, name: str, port: int, target: Any) -> None:
        document = {
            "metadata": {"name": name, "namespace": "n"},
            "spec": {
                "selector": {"app": "p"},
                "clusterIPs": ["10.9.0.1"],
                "ports": [{"port": port, "targetPort": target, "protocol": "TCP"}],
            },
        }
        self.around = replace(self.around, services=(*self.around.services, document))

    def log(self, container: str, *lines: str) -> None:
        self.around = replace(self.around, logs={**self.around.logs, container: lines})

    def graph(self) -> ChannelGraph:
        return build_graph(self.snapshot, self.pod, self.around)

    def codes(self) -> list[str]:
        return [problem.code for problem in self.graph().problems]


def make_process(pid: int, name: str, parent: int = 1) -> ProcessFacts:
    return ProcessFacts(pid=pid, inner_pid=1, parent=parent, name=name, command=name, state="S", start_time=pid, uid=0)


def make_file(pid: int, path: str, *, inode: int, mount_id: int, mode: str = "r", kind: Any = "file") -> OpenFile:
    return OpenFile(
        pid=pid,
        fd=3,
        path=path,
        kind=kind,
        device=1,
        inode=inode,
        readable="r" in mode,
        writable="w" in mode,
        mount_id=mount_id,
    )
