"""Deleting an object as the API server does it for a client."""

from __future__ import annotations

from podhost.aiokit.clock import Clock
from podhost.api.deletion import AlreadyDeleting, DeleteOptions, MarkDeleted, RemoveNow, compute_deletion
from podhost.store.keys import ObjectKey
from podhost.store.store import Store


def request_deletion(store: Store, clock: Clock, key: ObjectKey, options: DeleteOptions | None = None) -> None:
    """Remove the object, or mark it where somebody has to act first: a kubelet, or the owner of a finalizer.

    Idempotent; a mark that is there already stays as it is, unless a shorter grace period is asked for.
    """
    found = store.find(key)
    if found is None:
        return
    match compute_deletion(key.resource, found, options or DeleteOptions(), clock.now()):
        case RemoveNow():
            store.delete(key)
        case MarkDeleted(marked):
            store.update(key, marked)
        case AlreadyDeleting():
            pass
