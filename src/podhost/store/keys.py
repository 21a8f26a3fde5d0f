"""Names of stored objects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Where an object is.

    ``resource`` is ``pods`` or, with an API group, ``endpointslices.discovery.k8s.io``.
    ``namespace`` is empty for a cluster-scoped object.
    """

    resource: str
    namespace: str
    name: str

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f'{self.resource} "{place}"'
