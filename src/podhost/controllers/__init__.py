"""Level-triggered loops on API objects; they read and write the store and nothing else.

Decisions are pure functions in ``endpoints`` and ``scheduling``; the loops are the edge.  All have ``async
start()`` and ``async stop()``.
"""

from podhost.controllers.access import AccessController
from podhost.controllers.builtin_services import BuiltinServiceController, build_api_service, build_dns_service
from podhost.controllers.endpoint_slices import EndpointSliceController
from podhost.controllers.garbage import GarbageCollector
from podhost.controllers.namespaces import NamespaceController
from podhost.controllers.orphaned_pods import OrphanedPodController
from podhost.controllers.priority_classes import PriorityClassController
from podhost.controllers.scheduler import Scheduler
from podhost.controllers.service_accounts import ServiceAccountController
from podhost.controllers.taint_eviction import TaintEvictionController

__all__ = [
    "AccessController",
    "BuiltinServiceController",
    "EndpointSliceController",
    "GarbageCollector",
    "NamespaceController",
    "OrphanedPodController",
    "PriorityClassController",
    "Scheduler",
    "ServiceAccountController",
    "TaintEvictionController",
    "build_api_service",
    "build_dns_service",
]
