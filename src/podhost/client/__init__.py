"""A small client of the Kubernetes API for the CLI and the tests: kubeconfig, requests, watches, exec streams.

Only the standard library may be imported at start; PyYAML comes in when a kubeconfig is read.
"""

from podhost.client.api_client import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_MERGE_PATCH,
    ApiClient,
    ApiStatusError,
    resource_path,
)
from podhost.client.kubeconfig import Endpoint, kubeconfig_paths, load_kubeconfig, resolve_endpoint

__all__ = [
    "APPLY_PATCH",
    "JSON_PATCH",
    "MERGE_PATCH",
    "STRATEGIC_MERGE_PATCH",
    "ApiClient",
    "ApiStatusError",
    "Endpoint",
    "kubeconfig_paths",
    "load_kubeconfig",
    "resolve_endpoint",
    "resource_path",
]
