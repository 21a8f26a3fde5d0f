"""Versioned API objects in SQLite: resourceVersion, optimistic update, watch, compaction.

Knows nothing of what the objects mean.
"""

from podhost.store.event_expiry import EventExpiry
from podhost.store.events import EventRecorder
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.views import ObjectStore, ViewedStore
from podhost.store.watch import GoneError, Watch, WatchEvent

__all__ = [
    "EventExpiry",
    "EventRecorder",
    "GoneError",
    "ObjectKey",
    "ObjectStore",
    "Store",
    "ViewedStore",
    "Watch",
    "WatchEvent",
]
