"""The graph in Graphviz's language.  Pure."""

from __future__ import annotations

import json

from podhost.channels.graph import Channel, ChannelGraph
from podhost.channels.layout import build_title, describe_listener

_INTO = frozenset({"server", "receiver", "reader"})
_OUT_OF = frozenset({"client", "sender", "writer"})


def draw_dot(graph: ChannelGraph) -> str:
    """A ``digraph``: containers are boxes, channels ellipses between them."""
    lines = [
        "digraph podchannels {",
        "  rankdir=LR;",
        f"  label={_quote(build_title(graph))};",
        "  node [fontsize=11];",
    ]
    for container in graph.containers:
        listeners = [describe_listener(each) for each in graph.listeners if each.container == container.name]
        label = "\n".join([container.name, container.state, *listeners])
        lines.append(f"  {_quote('c:' + container.name)} [shape=box, label={_quote(label)}];")
    lines += [f"  {_quote('p:' + peer)} [shape=box, style=dashed, label={_quote(peer)}];" for peer in graph.peers]
    for channel in graph.channels:
        lines += _draw_channel(channel)
    return "\n".join([*lines, "}", ""])


def _draw_channel(channel: Channel) -> list[str]:
    name = _quote("k:" + channel.id)
    colour = ", color=red" if channel.problems else ""
    lines = [f"  {name} [shape=ellipse, label={_quote(channel.name + chr(10) + channel.summary)}{colour}];"]
    for end in channel.ends:
        place = _quote(("c:" if end.container else "p:") + end.place)
        detail = f" [label={_quote(end.detail)}]" if end.detail else ""
        if end.role in _INTO:
            lines.append(f"  {name} -> {place}{detail};")
        elif end.role in _OUT_OF:
            lines.append(f"  {place} -> {name}{detail};")
        else:
            both = f" [dir=both, label={_quote(end.detail)}]" if end.detail else " [dir=both]"
            lines.append(f"  {place} -> {name}{both};")
    return lines


def _quote(text: str) -> str:
    """A double-quoted id; JSON's escapes of quotes, backslashes and line breaks are Graphviz's."""
    clean = "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
    return json.dumps(clean, ensure_ascii=False)
