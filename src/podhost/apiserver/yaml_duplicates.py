"""Keys that a YAML mapping has twice, in go-yaml's words."""

from __future__ import annotations

import yaml


class _Walker:
    """Follows events; each open mapping knows its keys, and whether a key comes next."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._open: list[set[str] | None] = []
        self._key_next: list[bool] = []

    def on_event(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            keys = self._open[-1] if self._open else None
            if keys is not None and self._key_next[-1]:
                self._on_key(event, keys)
            self._end_node()
        elif isinstance(event, yaml.AliasEvent):
            self._end_node()
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open.append(set() if isinstance(event, yaml.MappingStartEvent) else None)
            self._key_next.append(True)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
            self._key_next.pop()
            self._end_node()

    def _on_key(self, event: yaml.ScalarEvent, keys: set[str]) -> None:
        if event.value in keys:
            line = event.start_mark.line + 1 if event.start_mark is not None else 0
            self.found.append(f'line {line}: key "{event.value}" already set in map')
        keys.add(event.value)

    def _end_node(self) -> None:
        if self._key_next:
            self._key_next[-1] = not self._key_next[-1]


def find_duplicate_keys(body: bytes) -> list[str]:
    """``line 3: key "a" already set in map``; nothing for what is not YAML, which its parser reports."""
    walker = _Walker()
    try:
        for event in yaml.parse(body, Loader=yaml.CSafeLoader):
            walker.on_event(event)
    except yaml.YAMLError:
        return []
    return walker.found
