"""Level-triggered loops on API objects; they read and write the store and nothing else.

Decisions are pure functions in ``endpoints`` and ``scheduling``; the loops are the edge.  All have ``async
start()`` and ``async stop()``.
"""

from podhost.controllers.endpoint_slices import EndpointSliceController
from podhost.controllers.garbage import GarbageCollector
from podhost.controllers.kubernetes_service import ApiEndpoint, KubernetesServiceController
from podhost.controllers.namespaces import NamespaceController
from podhost.controllers.scheduler import Scheduler
from podhost.controllers.service_accounts import ServiceAccountController

__all__ = [
    "ApiEndpoint",
    "EndpointSliceController",
    "GarbageCollector",
    "KubernetesServiceController",
    "NamespaceController",
    "Scheduler",
    "ServiceAccountController",
]
