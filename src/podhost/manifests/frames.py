"""What is open above a line: mappings, keys and lists, with what the API's schema allows in each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from podhost.api.schema import Type, definition
from podhost.manifests.lines import Content
from podhost.manifests.spelling import nearest_name

FOREIGN = 5.0
"""Cost of a field where the schema has none of that name."""
DUPLICATE = 4.0
MISSPELT = 1.2
UNKNOWN = 0.8
MISFIT = 1.5
FREE = 0.5
"""A map takes any key: that it takes this one says little."""

_SINGULAR = {"volumeMounts": "volume mount", "env": "environment variable", "envFrom": "environment source"}
_TITLE_KEYS = ("name", "mountPath", "containerPort", "port", "key", "ip")


@dataclass(slots=True, eq=False)
class Frame:
    """``column`` is where it stands in the text, ``new_column`` where it will stand."""

    kind: Literal["map", "key", "list"]
    type: Type | None
    column: int
    new_column: int
    line: int
    name: str = ""
    """The key, or the key above."""
    columns: set[int] = field(default_factory=set)
    """Columns at which its members were found."""
    keys: dict[str, int] = field(default_factory=dict)
    first_key: str = ""
    title: str = ""
    is_item: bool = False
    is_open: bool = False
    """A key with nothing beneath it yet."""

    def describe(self) -> str:
        """``the volume `html```."""
        if self.kind == "key" or not self.is_item:
            return f"`{self.name}`" if self.name else "the top level"
        noun = _SINGULAR.get(self.name) or (self.name[:-1] if self.name.endswith("s") else f"item of `{self.name}`")
        noun = "".join(f" {char.lower()}" if char.isupper() else char for char in noun)
        return f"the {noun} `{self.title}`" if self.title else f"this {noun}"

    def note_key(self, content: Content, line: int, column: int) -> None:
        self.columns.add(column)
        self.keys.setdefault(content.key, line)
        self.first_key = self.first_key or content.key
        if content.key in _TITLE_KEYS and not self.title and content.value:
            self.title = content.value.strip("\"'")


def child_type(parent: Type | None, key: str) -> Type | None:
    """Type of a field; ``None``: nobody knows."""
    if parent is None:
        return None
    if parent.kind == "map":
        return parent.item
    if parent.kind == "ref":
        facts = definition(parent.ref).fields.get(key)
        return facts.type if facts else None
    return None


def compute_key_cost(parent: Type | None, content: Content, keys: dict[str, int]) -> float:
    """How badly a key fits into a mapping; below 1: well."""
    if content.key == "<<":
        return 0.0
    twice = DUPLICATE if content.key in keys else 0.0
    if parent is None or parent.kind == "any":
        return UNKNOWN + twice
    if parent.kind == "map":
        return FREE + twice + (0.0 if _fits(parent.item, content) else MISFIT)
    if parent.kind != "ref":
        return FOREIGN + 1
    fields = definition(parent.ref).fields
    facts = fields.get(content.key)
    if facts is not None:
        return twice + (0.0 if _fits(facts.type, content) else MISFIT)
    return MISSPELT if nearest_name(content.key, set(fields) - set(keys)) else FOREIGN


def compute_item_cost(item: Type | None, content: Content) -> float:
    """How badly the content of a ``- `` fits as an item."""
    if item is None or item.kind == "any":
        return UNKNOWN
    if content.has_key:
        return compute_key_cost(item, content, {})
    return 0.0 if _fits(item, content) else FOREIGN


def _fits(wanted: Type | None, content: Content) -> bool:
    if wanted is None or wanted.kind == "any" or content.shape == "empty":
        return True
    if content.value[:1] == "*":
        return True
    if wanted.kind == "list":
        return (content.shape == "flow" and content.value.startswith("[")) or content.value in ("null", "~")
    if wanted.kind in ("map", "ref"):
        return (content.shape == "flow" and content.value.startswith("{")) or content.value in ("null", "~")
    return content.shape != "flow"
