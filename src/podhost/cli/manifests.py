"""Manifests from files, directories and stdin, each document with the place that it came from.

PyYAML is imported here only; commands that read no manifest do without it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from podhost.errors import InvalidError, NotFoundError

SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One object as its author wrote it."""

    document: dict[str, Any]
    source: str
    """``FILE:LINE`` where the document begins."""

    @property
    def api_version(self) -> str:
        return str(self.document.get("apiVersion", ""))

    @property
    def kind(self) -> str:
        return str(self.document.get("kind", ""))

    @property
    def name(self) -> str:
        return str((self.document.get("metadata") or {}).get("name") or "")

    @property
    def namespace(self) -> str:
        return str((self.document.get("metadata") or {}).get("namespace") or "")


def load_manifests(names: Sequence[str]) -> list[Manifest]:
    """All objects of files, directories (their YAML and JSON files, in order) and ``-`` (stdin).

    Raises:
        NotFoundError: A file does not exist.
        InvalidError: With file, line and column.
    """
    manifests = [manifest for name in names for path in _files(name) for manifest in _read(path)]
    if not manifests:
        raise InvalidError(f"cannot find an object in {', '.join(names)}: the input is empty")
    return manifests


def parse_manifests(text: str, source: str) -> list[Manifest]:
    """All objects of a text; ``List`` objects are taken apart.  Raises InvalidError."""
    manifests: list[Manifest] = []
    loader = _loader()(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            place = f"{source}:{node.start_mark.line + 1}"
            _reject_duplicate_keys(node, source)
            manifests.extend(_objects(loader.construct_document(node), place))
    except yaml.MarkedYAMLError as error:
        raise InvalidError(_describe(error, source)) from error
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidError(f"cannot read {source}: {error}") from error
    finally:
        loader.dispose()
    return manifests


def _files(name: str) -> list[str]:
    if name == "-":
        return ["-"]
    path = Path(name)
    if path.is_dir():
        found = sorted(str(entry) for entry in path.iterdir() if entry.suffix in SUFFIXES and entry.is_file())
        if not found:
            raise NotFoundError(f"cannot find a manifest in the directory '{name}': no {', '.join(SUFFIXES)} in it")
        return found
    return [name]


def _read(name: str) -> list[Manifest]:
    if name == "-":
        return parse_manifests(sys.stdin.read(), "stdin")
    try:
        return parse_manifests(Path(name).read_text(), name)
    except FileNotFoundError as error:
        raise NotFoundError(f"cannot read '{name}': no such file or directory") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidError(f"cannot read '{name}': {error}") from error


def _objects(document: object, place: str) -> Iterator[Manifest]:
    if document is None:
        return
    if not isinstance(document, dict):
        raise InvalidError(
            f"cannot use {place}: a manifest is a mapping with apiVersion and kind, not {document!r:.40}"
        )
    kind = document.get("kind")
    if isinstance(kind, str) and kind.endswith("List") and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _objects(item, place)
        return
    for key in ("apiVersion", "kind"):
        if not isinstance(document.get(key), str) or not document[key]:
            raise InvalidError(f"cannot use {place}: {key} not set")
    metadata = document.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise InvalidError(f"cannot use {place}: metadata is not a mapping")
    if not (metadata or {}).get("name") and not (metadata or {}).get("generateName"):
        raise InvalidError(f"cannot use {place}: metadata.name not set")
    yield Manifest(document=document, source=place)


def _reject_duplicate_keys(node: Any, source: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    first = seen[key.value]
                    raise InvalidError(f"cannot read {source}:{line}: key '{key.value}' already set in line {first}")
                seen[key.value] = line
            _reject_duplicate_keys(value, source)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _reject_duplicate_keys(value, source)


def _describe(error: yaml.MarkedYAMLError, source: str) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark is not None else source
    context = f" {error.context}" if error.context else ""
    return f"cannot read {place}: {error.problem}{context}"


def _loader() -> Any:
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        """Kubernetes knows no dates: what looks like one stays text."""

        yaml_implicit_resolvers = {  # noqa: RUF012
            first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
            for first, resolvers in base.yaml_implicit_resolvers.items()
        }

    return Loader
