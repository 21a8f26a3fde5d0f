"""The three kinds of patch that the API takes.  All return a new document and never touch their arguments."""

from __future__ import annotations

from podhost.api.json_patches import (
    PatchError,
    PatchTooLargeError,
    apply_json_patch,
    apply_merge_patch,
    compute_merge_patch,
)
from podhost.api.strategic_merge import apply_strategic_merge_patch

__all__ = [
    "PatchError",
    "PatchTooLargeError",
    "apply_json_patch",
    "apply_merge_patch",
    "apply_strategic_merge_patch",
    "compute_merge_patch",
]
