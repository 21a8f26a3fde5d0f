"""Versioned API objects in SQLite: resourceVersion, optimistic update, watch, compaction.

Knows nothing of what the objects mean.
"""
