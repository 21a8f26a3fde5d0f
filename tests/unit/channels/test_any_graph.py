"""Whatever programs do and call themselves: the drawings hold, and facts of every kind become a graph."""

from __future__ import annotations

import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.channel_world import World, make_file
from podhost.channels.dot import draw_dot
from podhost.channels.drawing import Style, draw_graph
from podhost.channels.graph import Channel, ChannelGraph, ContainerNode, End, Problem, build_document, read_document
from podhost.channels.snapshot import VolumeMount
from podhost.channels.svg import draw_svg
from podhost.linux.proc import BlockedCall
from podhost.linux.sock_diag import InetSocket, UnixSocket

TEXT = st.text(max_size=30)
NAMES = ["a", "b", "c", "d", "e", "f"]
ENDS = st.builds(
    End,
    container=st.sampled_from(["", *NAMES]),
    peer=st.sampled_from(["", "outside 8.8.8.8", "pod x/y"]),
    role=st.sampled_from(["server", "client", "sender", "receiver", "writer", "reader", "user"]),
    detail=TEXT,
)
GRAPHS = st.builds(
    ChannelGraph,
    namespace=TEXT,
    name=TEXT,
    containers=st.lists(st.sampled_from(NAMES), unique=True).map(
        lambda names: tuple(ContainerNode(name=name, state="running", pid=1) for name in names)
    ),
    channels=st.lists(
        st.builds(
            Channel,
            id=TEXT,
            kind=st.sampled_from(["tcp", "volume", "fifo"]),
            name=TEXT,
            summary=TEXT,
            ends=st.lists(ENDS, max_size=4).map(tuple),
        ),
        max_size=5,
    ).map(tuple),
    problems=st.lists(
        st.builds(Problem, code=TEXT, severity=st.sampled_from(["error", "warning"]), message=TEXT), max_size=2
    ).map(tuple),
)


ACCENTED = ChannelGraph(
    namespace="n",
    name="p",
    containers=(ContainerNode(name="a", state="running", pid=1), ContainerNode(name="b", state="running", pid=2)),
    channels=(Channel(id="1", kind="tcp", name="0\u0300" * 40, ends=(End(container="a", role="server"),)),),
)
"""A combining character takes no column."""


@settings(max_examples=60, deadline=None)
@given(graph=GRAPHS, width=st.integers(40, 220), ascii=st.booleans())
@example(graph=ACCENTED, width=40, ascii=False)
def test_every_graph_can_be_drawn_within_its_width(graph: ChannelGraph, width: int, ascii: bool) -> None:
    drawn = draw_graph(graph, width, Style(ascii=ascii))
    assert max(sum(not unicodedata.combining(char) for char in line) for line in drawn.split("\n")) <= width
    assert all(char.isprintable() or char == "\n" for char in drawn)
    ET.fromstring(draw_svg(graph))
    assert draw_dot(graph).endswith("}\n")


ADDRESSES = st.sampled_from(["127.0.0.1", "0.0.0.0", "10.0.0.2", "10.0.0.9", "::1", "::"])
PORTS = st.sampled_from([0, 80, 81, 4000])
SOCKETS = st.builds(
    InetSocket,
    st.sampled_from(["tcp", "udp"]),
    st.sampled_from([4, 6]),
    st.sampled_from(["LISTEN", "ESTABLISHED", "CLOSE", "FIN_WAIT2", "SYN_SENT"]),
    ADDRESSES,
    PORTS,
    ADDRESSES,
    PORTS,
    st.integers(0, 6),
    st.just(0),
)
UNIX = st.builds(
    UnixSocket,
    st.sampled_from(["stream", "dgram"]),
    st.sampled_from(["LISTEN", "ESTABLISHED", "CLOSE"]),
    st.integers(0, 6),
    st.sampled_from(["", "/x", "@y"]),
    peer_inode=st.integers(0, 6),
)
FILES = st.builds(
    lambda pid, mount, mode, kind: make_file(pid, "/x/f", inode=5, mount_id=mount, mode=mode, kind=kind),
    st.sampled_from([100, 200]),
    st.sampled_from([11, 22, 33]),
    st.sampled_from(["", "r", "w", "rw"]),
    st.sampled_from(["file", "fifo", "directory"]),
)


@settings(max_examples=60, deadline=None)
@given(
    inet=st.lists(SOCKETS, max_size=6),
    unix=st.lists(UNIX, max_size=5),
    files=st.lists(FILES, max_size=5),
    owners=st.dictionaries(st.integers(0, 6), st.sampled_from([(100,), (200,), (200, 100)])),
)
def test_all_facts_become_a_graph(inet: Any, unix: Any, files: Any, owners: Any) -> None:
    world = World()
    world.pod["spec"]["volumes"] = [{"name": "v"}]
    world.container("a")["volumeMounts"] = [{"name": "v", "mountPath": "/x"}]
    world.container("a")["ports"] = [{"containerPort": 80}]
    world.service("svc", 80, 81)
    mount = VolumeMount(container="a", mount_point="/x", mount_id=11, read_only=False)
    facts = {"inet": tuple(inet), "unix": tuple(unix), "files": tuple(files), "socket_owners": owners}
    world.snapshot = replace(world.snapshot, **facts, mounts=(mount,), blocked=(BlockedCall(100, "msgrcv", 1),))
    graph = world.graph()
    assert read_document(build_document(graph, {"name": "p", "namespace": "n", "uid": "u"})) == graph
    ids = [channel.id for channel in graph.channels]
    assert len(ids) == len(set(ids)), "a channel is told once"
