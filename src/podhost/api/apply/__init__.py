"""Server-side apply: who manages which fields, and what applying a configuration makes of an object.

Pure, after ``sigs.k8s.io/structured-merge-diff``: sets of fields, values walked along the schema, and the rules of
``managedFields``.  Nothing in here knows of requests.
"""

from podhost.api.apply.field_managers import (
    ApplyConflict,
    Writer,
    apply_config,
    keep_times,
    record_update,
    record_write,
)
from podhost.api.apply.values import TypedError

__all__ = ["ApplyConflict", "TypedError", "Writer", "apply_config", "keep_times", "record_update", "record_write"]
