"""The Kubernetes API over HTTP: routes as data, verbs, watch, patch, tables, discovery, streams.

Knows objects and their store, never containers: what needs the node goes through ``podhost.cri.node``.
"""

from podhost.apiserver.server import ApiServer
from podhost.apiserver.settings import ApiServerSettings, DaemonHooks

__all__ = ["ApiServer", "ApiServerSettings", "DaemonHooks"]
