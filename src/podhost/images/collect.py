"""What may go, decided from what is known (pure), and its removal."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path

from podhost.images.content import ContentStore
from podhost.images.metadata import Catalog, Lease


@dataclass(frozen=True, slots=True)
class Garbage:
    """Digests and chain ids that nothing needs."""

    blobs: frozenset[str]
    snapshots: frozenset[str]


def compute_garbage(catalog: Catalog, *, blobs: Iterable[str], snapshots: Iterable[str]) -> Garbage:
    """Everything that no recorded image consists of.  Images in use cannot leave the record."""
    wanted_blobs: set[str] = set()
    wanted_snapshots: set[str] = set()
    for record in catalog.records.values():
        wanted_blobs |= record.blobs
        wanted_snapshots.update(layer.chain_id for layer in record.layers)
    return Garbage(frozenset(blobs) - wanted_blobs, frozenset(snapshots) - wanted_snapshots)


def compute_unused_images(catalog: Catalog, leases: Iterable[Lease]) -> list[str]:
    """Ids of images without a name and without a container."""
    used = {lease.image_id for lease in leases} | set(catalog.names.values())
    return [image_id for image_id in catalog.records if image_id not in used]


def find_void_leases(leases: Iterable[Lease]) -> list[Lease]:
    """Leases whose writable layer is gone: of an instance that was deleted, or of a crash half-way."""
    return [lease for lease in leases if not Path(lease.path).exists()]


def apply_garbage(content: ContentStore, garbage: Garbage) -> int:
    """Delete; returns the bytes freed.  Only under the exclusive lock."""
    freed = sum(content.delete_snapshot(chain_id) for chain_id in garbage.snapshots)
    return freed + sum(content.delete_blob(digest) for digest in garbage.blobs)


def list_candidates(content: ContentStore, orphan_age_s: float, also: Set[str]) -> set[str]:
    """Blobs that may be looked at: old enough that no broken pull will want them, or named."""
    return content.list_blobs(older_than_s=orphan_age_s) | {item for item in also if content.has_blob(item)}
