"""``@covers("Container.workingDir")``: which honoured fields of a pod a test shows.

``tests/unit/test_compat_coverage.py`` reads the marks without running anything (:mod:`harness.covered_fields`).
"""

from __future__ import annotations

import pytest


def covers(*fields: str) -> pytest.MarkDecorator:
    """``Structure.field`` of the official schema, as in the tables of ``podhost.api.warnings``."""
    return pytest.mark.covers(*fields)
