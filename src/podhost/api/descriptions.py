"""Descriptions of the API's fields.  They come with a built package; without them there are none."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

Descriptions = Mapping[str, Mapping[str, str]]
"""By definition: texts of its fields, and under the empty name its own."""


def load_descriptions() -> Descriptions:
    """Not kept in memory: the documents made of them are."""
    path = Path(__file__).with_name("descriptions.json.gz")
    try:
        found: Descriptions = json.loads(gzip.decompress(path.read_bytes()))
    except FileNotFoundError:
        return {}
    return found
