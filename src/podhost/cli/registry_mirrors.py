"""Mirrors of a registry, out of ``registries.conf``: whose credentials a pull may need beside the registry's own.

containers-registries.conf(5), version 2, as skopeo reads it for the daemon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

SYSTEM_FILES = (Path("/etc/containers/registries.conf"), Path("/etc/containers/registries.conf.d"))


def find_mirrors(name: str, documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """Places (``host/path``) that an image's full name may be fetched from instead, in their order.  Pure.

    Of a registry that several documents speak of, the last one counts; of those that cover the name, the longest.
    """
    registries: dict[str, Mapping[str, Any]] = {}
    for document in documents:
        tables = document.get("registry")
        for table in tables if isinstance(tables, list) else ():
            if isinstance(table, dict) and (prefix := str(table.get("prefix") or table.get("location") or "")):
                registries[prefix] = table
    covering = [prefix for prefix in registries if _covers(prefix, name)]
    if not covering:
        return []
    chosen = registries[max(covering, key=len)]
    mirrors = [str(mirror.get("location") or "") for mirror in chosen.get("mirror") or () if isinstance(mirror, dict)]
    location = str(chosen.get("location") or "")
    return [place for place in (*mirrors, location) if place and not _covers(place, name)]


def _covers(prefix: str, name: str) -> bool:
    """A whole part of the name: host, path, or with tag or digest; ``*.example.com`` is any host below it."""
    if prefix.startswith("*."):
        return name.partition("/")[0].partition(":")[0].endswith(prefix[1:])
    return name.startswith(prefix) and name[len(prefix) : len(prefix) + 1] in ("", "/", ":", "@")


def read_documents(places: Sequence[Path] = SYSTEM_FILES) -> list[Mapping[str, Any]]:
    """The files that are there; a broken one is passed over: the daemon's skopeo tells of it."""
    import tomllib

    paths = [path for place in places for path in (sorted(place.glob("*.conf")) if place.is_dir() else [place])]
    documents: list[Mapping[str, Any]] = []
    for path in paths:
        try:
            documents.append(tomllib.loads(path.read_text()))
        except (OSError, ValueError):
            continue
    return documents
