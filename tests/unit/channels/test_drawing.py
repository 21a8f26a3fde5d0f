"""Drawings of one graph: terminal, SVG, DOT."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from podhost.channels.dot import draw_dot
from podhost.channels.drawing import Style, draw_graph
from podhost.channels.graph import Channel, ChannelGraph, ContainerNode, End, Listener, Problem, ProcessNode
from podhost.channels.svg import draw_svg
from podhost.cli.terminal import count_cells

GRAPH = ChannelGraph(
    namespace="default",
    name="mc3",
    addresses=("10.0.0.2",),
    containers=(
        ContainerNode(
            name="webapp", state="running", pid=10, processes=(ProcessNode(pid=10, inner_pid=1, name="python3"),)
        ),
        ContainerNode(
            name="nginx",
            state="running",
            pid=20,
            processes=tuple(ProcessNode(pid=20 + n, inner_pid=1 + n, name="nginx") for n in range(2)),
        ),
    ),
    listeners=(
        Listener(protocol="tcp", address="127.0.0.1", port=5000, container="webapp", pid=10, process="python3"),
        Listener(protocol="tcp", address="*", port=80, container="nginx", pid=20, services=("default/mc3",)),
    ),
    channels=(
        Channel(
            id="1",
            kind="tcp",
            name="tcp 127.0.0.1:5000",
            summary="2 connections",
            ends=(End(container="nginx", role="client"), End(container="webapp", role="server")),
        ),
        Channel(
            id="2",
            kind="tcp",
            name="tcp *:80",
            summary="1 connection",
            ends=(End(peer="this host", role="client"), End(container="nginx", role="server")),
        ),
        Channel(
            id="3",
            kind="volume",
            name="volume v",
            summary="emptyDir",
            ends=(
                End(container="webapp", role="writer", detail="/x rw"),
                End(container="nginx", role="reader", detail="/y ro"),
            ),
            problems=("file-written-twice",),
        ),
        Channel(id="4", kind="sysv-semaphores", name="System V semaphores 0x10", summary="2 in the set"),
    ),
    problems=(
        Problem(
            code="x", severity="error", message="something is wrong", evidence=("seen here",), suggestion="mend it"
        ),
    ),
)

EXPECTED = """\
pod default/mc3  10.0.0.2  2 containers, 3 processes, 4 channels, 1 problem

┌─ webapp ──────────────┐  ┌─ nginx ───────────────┐  ┌─ outside ─────────────┐
│ running, pid 10       │  │ running, pid 20       │  │ this host             │
│ python3               │  │ nginx x2              │  │                       │
│ on tcp 127.0.0.1:5000 │  │ on tcp *:80           │  │                       │
│                       │  │ Service default/mc3   │  │                       │
└───────────┬───────────┘  └───────────┬───────────┘  └───────────┬───────────┘
            │                          │                          │
            │ tcp 127.0.0.1:5000  2 connections                   │
            ├◄─────────────────────────┤                          │
            │                          │                          │
            │                          │ tcp *:80  1 connection  (this host)
            │                          ├◄─────────────────────────┤
            │                          │                          │
            │ ⚠ volume v  emptyDir     │                          │
            ├─────────────────────────►┤                          │
          /x rw                      /y ro                        │
○ System V semaphores 0x10  2 in the set

✗ something is wrong
    seen here
  → mend it"""


def test_containers_are_boxes_and_channels_are_lines_between_them() -> None:
    assert draw_graph(GRAPH, 82) == EXPECTED


def test_a_wide_terminal_shows_every_word() -> None:
    drawn = draw_graph(GRAPH, 200)
    assert "on tcp 127.0.0.1:5000" in drawn
    assert "…" not in drawn


@pytest.mark.parametrize("width", [40, 57, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    many = [ContainerNode(name=f"container-{n}", state="running", pid=n) for n in range(width // 30)]
    graph = ChannelGraph(
        namespace="default", name="p" * 60, containers=(*GRAPH.containers, *many), channels=GRAPH.channels,
        problems=GRAPH.problems,
    )  # fmt: skip
    assert max(map(len, draw_graph(graph, width).splitlines())) <= width


def test_many_containers_stand_below_each_other_with_their_channels() -> None:
    many = tuple(ContainerNode(name=f"c{n}", state="running", pid=n) for n in range(1, 51))
    channel = Channel(
        id="v", kind="volume", name="volume v", ends=tuple(End(container=c.name, detail="/v rw") for c in many)
    )
    drawn = draw_graph(ChannelGraph(namespace="n", name="p", containers=many, channels=(channel,)), 80)
    assert drawn.count("└─● volume v") == 50
    assert "with c1, c2, c3, 46 more" in drawn


def test_ascii_needs_no_other_characters() -> None:
    drawn = draw_graph(GRAPH, 80, Style(ascii=True))
    assert drawn.isascii()
    assert "+<-----" in drawn


def test_colour_only_where_it_is_wanted() -> None:
    assert "\x1b" not in draw_graph(GRAPH, 80)
    coloured = draw_graph(GRAPH, 80, Style(colour=True))
    assert "\x1b[31m✗ something is wrong\x1b[0m" in coloured


def test_names_of_programs_cannot_move_the_cursor_or_break_the_markup() -> None:
    process = ProcessNode(pid=1, inner_pid=1, name='\x1b[2J<&"')
    nasty = ChannelGraph(
        namespace="n", name="p", containers=(ContainerNode(name="c", state="running", pid=1, processes=(process,)),)
    )
    assert "\x1b" not in draw_graph(nasty, 80)
    ET.fromstring(draw_svg(nasty))


def test_the_svg_holds_all_boxes_labels_and_problems() -> None:
    texts = [element.text for element in ET.fromstring(draw_svg(GRAPH)).iter() if element.tag.endswith("text")]
    for text in ("webapp", "nginx", "outside", "tcp 127.0.0.1:5000  2 connections", "error: something is wrong"):
        assert text in texts


def test_dot_leads_from_client_to_server() -> None:
    dot = draw_dot(GRAPH)
    assert '"c:nginx" -> "k:1";' in dot
    assert '"k:1" -> "c:webapp";' in dot
    assert '"p:this host" [shape=box, style=dashed' in dot


def test_a_pod_without_containers_is_said_to_have_none() -> None:
    assert "no container has been started" in draw_graph(ChannelGraph(namespace="n", name="p"), 80)


def test_a_shared_process_namespace_shows_the_tree_of_its_processes() -> None:
    def process(pid: int, inner: int, parent: int, name: str) -> ProcessNode:
        return ProcessNode(pid=pid, inner_pid=inner, parent=parent, name=name, command=name)

    containers = (
        ContainerNode(
            name="a", state="running", pid=10, processes=(process(10, 7, 0, "sh"), process(11, 9, 10, "sleep"))
        ),
        ContainerNode(name="b", state="running", pid=20, processes=(process(20, 8, 0, "nginx"),)),
    )
    ends = (End(container="a"), End(container="b"))
    shared = Channel(id="pid-namespace", kind="pid-namespace", name="shared process namespace", ends=ends)
    drawn = draw_graph(ChannelGraph(namespace="n", name="p", containers=containers, channels=(shared,)), 80)
    assert drawn.splitlines()[-3:] == ["7 sh  (a)", "  9 sleep  (a)", "8 nginx  (b)"]


def _shared_tree(*processes: ProcessNode) -> ChannelGraph:
    containers = (ContainerNode(name="a", state="running", pid=1, processes=processes),)
    shared = Channel(id="p", kind="pid-namespace", name="shared", ends=(End(container="a"),))
    return ChannelGraph(namespace="n", name="p", containers=containers, channels=(shared,))


def test_many_processes_of_a_kind_stand_in_one_line_of_the_tree() -> None:
    children = [ProcessNode(pid=10 + n, inner_pid=2 + n, parent=1, name="sleep") for n in range(300)]
    other = ProcessNode(pid=5, inner_pid=400, parent=10, name="nginx")
    graph = _shared_tree(ProcessNode(pid=1, inner_pid=1, parent=0, name="sh"), *children, other)
    told = ["1 sh  (a)", "  2 sleep  (a)", "    400 nginx  (a)", "  3 … 301 sleep  x299  (a)"]
    assert draw_graph(graph, 80).splitlines()[-4:] == told
    assert "3 … 301 sleep  x299  (a)" in draw_svg(graph)


def test_boxes_of_a_pod_without_channels_have_no_loose_ends() -> None:
    containers = (ContainerNode(name="a", state="exited"),)
    drawn = draw_graph(ChannelGraph(namespace="n", name="p", containers=containers), 80)
    assert drawn.splitlines()[-1] == "└────────────────┘"


@pytest.mark.parametrize("width", [80, 40])
def test_wide_characters_take_two_columns_and_keep_the_boxes_straight(width: int) -> None:
    def box(name: str, process: str, mount: str) -> list[int]:
        node = ProcessNode(pid=1, inner_pid=1, name=process)
        containers = tuple(ContainerNode(name=n, state="running", pid=1, processes=(node,)) for n in (name, "b", "c"))
        ends = tuple(End(container=n, detail=mount) for n in (name, "c"))
        channel = Channel(id="v", kind="volume", name="volume v", ends=ends)
        graph = ChannelGraph(namespace="n", name="p", containers=containers, channels=(channel,))
        return [count_cells(line) for line in draw_graph(graph, width).splitlines()]

    assert box("a", "进程名字很长", "/数据目录") == box("a", "x" * 12, "/" + "x" * 8)
