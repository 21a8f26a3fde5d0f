"""Identifiers that must not be mixed up."""

from __future__ import annotations

from typing import NewType

PodUID = NewType("PodUID", str)
SandboxId = NewType("SandboxId", str)
ContainerId = NewType("ContainerId", str)
ImageId = NewType("ImageId", str)
"""Digest of the image's configuration, ``sha256:…``."""
Digest = NewType("Digest", str)
"""``sha256:<64 hex digits>`` of some content."""
ChainId = NewType("ChainId", str)
"""OCI chain id: identifies a stack of unpacked layers."""
