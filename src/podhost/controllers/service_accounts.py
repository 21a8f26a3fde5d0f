"""What every namespace has: the ServiceAccount ``default`` and the ConfigMap with the API's CA certificate."""

from __future__ import annotations

from typing import Any

from podhost.aiokit.clock import Clock
from podhost.controllers.loop import ReconcileLoop
from podhost.controllers.objects import ensure_content, ensure_created
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

DEFAULT_ACCOUNT = "default"
ROOT_CA_CONFIG_MAP = "kube-root-ca.crt"
# Kubernetes' own words, as `kubectl describe` shows them.
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the"
    " internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes"
    " clusters."
)


def build_service_account(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": DEFAULT_ACCOUNT, "namespace": namespace},
    }


def build_root_ca_config_map(namespace: str, ca_pem: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": ROOT_CA_CONFIG_MAP,
            "namespace": namespace,
            "annotations": {"kubernetes.io/description": _DESCRIPTION},
        },
        "data": {"ca.crt": ca_pem},
    }


class ServiceAccountController:
    """``ca_pem`` is the certificate that clients in pods trust."""

    def __init__(self, store: Store, clock: Clock, ca_pem: str) -> None:
        self._store = store
        self._clock = clock
        self._ca_pem = ca_pem
        self._loop: ReconcileLoop[str] = ReconcileLoop(store, "service accounts", self.reconcile)

    async def start(self) -> None:
        """Namespaces that exist have both when this returns: a pod can be made at once."""
        for namespace in self._store.list("namespaces")[0]:
            self.reconcile(namespace["metadata"]["name"])
        self._loop.watch("namespaces", self._on_namespace)
        self._loop.watch("serviceaccounts", self._on_content)
        self._loop.watch("configmaps", self._on_content)
        self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def reconcile(self, name: str) -> None:
        """Make what is missing in one namespace; mend the certificate when it was changed."""
        namespace = self._store.find(ObjectKey("namespaces", "", name))
        if namespace is None or "deletionTimestamp" in namespace["metadata"]:
            return
        account = ObjectKey("serviceaccounts", name, DEFAULT_ACCOUNT)
        ensure_created(self._store, self._clock, account, build_service_account(name))
        config_map = ObjectKey("configmaps", name, ROOT_CA_CONFIG_MAP)
        ensure_content(self._store, self._clock, config_map, build_root_ca_config_map(name, self._ca_pem))

    def _on_namespace(self, event: WatchEvent) -> None:
        if event.type != "DELETED":
            self._loop.mark(event.object["metadata"]["name"])

    def _on_content(self, event: WatchEvent) -> None:
        metadata = event.object["metadata"]
        if metadata["name"] in (DEFAULT_ACCOUNT, ROOT_CA_CONFIG_MAP) and event.type != "ADDED":
            self._loop.mark(metadata["namespace"])
