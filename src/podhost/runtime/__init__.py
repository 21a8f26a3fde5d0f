"""CRI RuntimeService on an OCI runtime and conmon; ``oci_spec`` is pure.

Only :class:`OciRuntimeService` and :class:`RuntimeSettings` are for others.  No image, network or volume code may
live here: those come in as collaborators.
"""

from podhost.runtime.service import OciRuntimeService
from podhost.runtime.settings import RuntimeSettings

__all__ = ["OciRuntimeService", "RuntimeSettings"]
