"""YAML as Kubernetes reads it: a way to write JSON.  Keys are strings, and so are times and binaries."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from typing import Any

import yaml

_PREFIX = "tag:yaml.org,2002:"
_TIMESTAMP = _PREFIX + "timestamp"
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$")
"""Numbers of YAML 1.1 that go-yaml does not have: times of day and pairs of ports stay strings."""


class JsonLoader(yaml.CSafeLoader):
    """Raises ValueError for a key that has no place in JSON."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise ValueError(f"expected a map, got {node.id}")
        self.flatten_mapping(node)
        return {
            _format_key(self.construct_object(key, deep=True)): self.construct_object(value, deep=deep)
            for key, value in node.value
        }


def _format_key(key: object) -> str:
    """As ``sigs.k8s.io/yaml`` writes keys that are no strings."""
    match key:
        case str():
            return key
        case bool():
            return "true" if key else "false"
        case int():
            return str(key)
        case float() if math.isfinite(key):
            return f"{key:.8g}"
        case float():
            return ".nan" if math.isnan(key) else ".inf" if key > 0 else "-.inf"
        case _:
            raise ValueError(f"unsupported map key: {key!r}")


def _construct_binary(loader: JsonLoader, node: yaml.ScalarNode) -> str:
    return loader.construct_yaml_binary(node).decode("utf-8", "replace")


JsonLoader.yaml_implicit_resolvers = {
    first: [(_PREFIX + "str", _BASE_60), *((tag, regexp) for tag, regexp in resolvers if tag != _TIMESTAMP)]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
JsonLoader.yaml_constructors = yaml.CSafeLoader.yaml_constructors | {
    _TIMESTAMP: JsonLoader.construct_yaml_str,
    _PREFIX + "binary": _construct_binary,
    _PREFIX + "set": JsonLoader.construct_yaml_map,
    _PREFIX + "omap": JsonLoader.construct_yaml_seq,
    _PREFIX + "pairs": JsonLoader.construct_yaml_seq,
}
