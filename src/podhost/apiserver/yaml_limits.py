"""Refuses YAML that would grow or nest beyond reason, before it is built.

libyaml's events come one by one; the composer on top of them recurses in C, where a deep document overflows the
stack and takes the process with it.  Aliases can make a small text an enormous document.
"""

from __future__ import annotations

import yaml

MAX_DEPTH = 200
_FREE_NODES = 100_000
_MAX_GROWTH = 10
"""Aliases may make a document this many times larger than what is written, if it is not small anyway."""


class _Counter:
    """Nodes written, and nodes there would be with every alias replaced by what it stands for."""

    def __init__(self) -> None:
        self.written = 0
        self.expanded = 0
        self._open: list[tuple[str | None, int]] = []
        self._sizes: dict[str, int] = {}

    def on_event(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._on_alias(event.anchor or "")
        elif isinstance(event, yaml.ScalarEvent):
            self._add(1)
            if event.anchor:
                self._sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, self.expanded))
            self._add(1)
            if len(self._open) > MAX_DEPTH:
                raise ValueError(f"exceeded max depth of {MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self._open.pop()
            if anchor:
                self._sizes[anchor] = self.expanded - before

    def _on_alias(self, anchor: str) -> None:
        if any(name == anchor for name, _ in self._open):
            raise ValueError(f"anchor '{anchor}' value contains itself")
        self.written += 1
        self.expanded += self._sizes.get(anchor, 1)
        if self.expanded > max(_FREE_NODES, _MAX_GROWTH * self.written):
            raise ValueError("document contains excessive aliasing")

    def _add(self, count: int) -> None:
        self.written += count
        self.expanded += count


def check_yaml_limits(body: bytes) -> None:
    """Raises ValueError with go-yaml's words, and YAMLError for what is not YAML."""
    counter = _Counter()
    try:
        for event in yaml.parse(body, Loader=yaml.CSafeLoader):
            counter.on_event(event)
    except yaml.scanner.ScannerError as error:
        # libyaml since 0.2.6 has a limit of its own, which its scanner meets before we see the events.
        if "maximum nesting depth" in str(error.problem):
            raise ValueError(f"exceeded max depth of {MAX_DEPTH}") from error
        raise
