"""The controllers on a real store: what they write, and that they write nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from podhost.aiokit.clock import SystemClock
from podhost.controllers import (
    BuiltinServiceController,
    EndpointSliceController,
    GarbageCollector,
    NamespaceController,
    Scheduler,
    ServiceAccountController,
    build_api_service,
    build_dns_service,
)
from podhost.controllers.namespaces import build_namespace
from podhost.store.events import EventRecorder
from podhost.store.keys import ObjectKey
from podhost.store.store import Store

SLICES = "endpointslices.discovery.k8s.io"
DNS = ObjectKey("services", "kube-system", "kube-dns")
SKIP = {"endpointslice.kubernetes.io/skip-mirror": "true"}
RESOURCES = ("pods", "services", "endpoints", SLICES, "configmaps", "serviceaccounts", "secrets", "events")


class Controller(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class World:
    """A store and the controllers that run on it."""

    def __init__(self, path: Path) -> None:
        self.clock = SystemClock()
        self.store = Store(path, self.clock)
        self._running: list[Controller] = []

    async def run(self, *controllers: Controller) -> None:
        for controller in controllers:
            await controller.start()
            self._running.append(controller)
        await self.settle()

    async def settle(self) -> None:
        """Let the loops run until a whole round of turns has written nothing."""
        version = -1
        while version != self.store.current_rv():
            version = self.store.current_rv()
            for _ in range(30):
                await asyncio.sleep(0)

    def put(self, resource: str, name: str, namespace: str = "default", **content: Any) -> dict[str, Any]:
        metadata = {"name": name, "uid": f"uid-{name}", **content.pop("metadata", {})}
        if namespace:
            metadata["namespace"] = namespace
        return self.store.create(ObjectKey(resource, namespace, name), {"metadata": metadata, **content})

    def names(self, resource: str, namespace: str | None = None) -> list[str]:
        return [obj["metadata"]["name"] for obj in self.store.list(resource, namespace)[0]]

    def get(self, resource: str, name: str, namespace: str = "default") -> dict[str, Any]:
        return self.store.get(ObjectKey(resource, namespace, name))

    def change(self, resource: str, name: str, fn: Callable[[dict[str, Any]], Any], namespace: str = "default") -> None:
        def apply(obj: dict[str, Any]) -> dict[str, Any]:
            fn(obj)
            return obj

        self.store.mutate(ObjectKey(resource, namespace, name), apply)

    async def close(self) -> None:
        for controller in reversed(self._running):
            await controller.stop()
        self.store.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "store.db")
    yield made
    await made.close()


def put_pod(world: World, name: str = "web", **status: Any) -> dict[str, Any]:
    ready = [{"type": "Ready", "status": "True"}]
    return world.put(
        "pods",
        name,
        metadata={"labels": {"app": "web"}},
        spec={"nodeName": "node", "containers": [{"name": "c"}]},
        status={"phase": "Running", "podIP": "10.200.0.2", "conditions": ready, **status},
    )


def put_service(world: World, **spec: Any) -> dict[str, Any]:
    ports = [{"port": 80, "protocol": "TCP", "targetPort": 8080}]
    return world.put(
        "services", "web", spec={"selector": {"app": "web"}, "ports": ports, "clusterIP": "1.2.3.4"} | spec
    )


async def test_slice_and_endpoints_follow_a_pod(world: World) -> None:
    await world.run(EndpointSliceController(world.store, world.clock))
    put_service(world)
    await world.settle()
    (slice_,) = world.store.list(SLICES)[0]
    assert slice_["endpoints"] == []
    assert slice_["metadata"]["name"].startswith("web-")
    put_pod(world)
    await world.settle()
    (slice_,) = world.store.list(SLICES)[0]
    assert slice_["endpoints"][0]["conditions"]["ready"]
    assert slice_["metadata"]["generation"] == 2
    assert world.get("endpoints", "web")["subsets"][0]["addresses"][0]["ip"] == "10.200.0.2"
    world.store.delete(ObjectKey("pods", "default", "web"))
    await world.settle()
    assert world.store.list(SLICES)[0][0]["endpoints"] == []
    assert "subsets" not in world.get("endpoints", "web")
    world.store.delete(ObjectKey("services", "default", "web"))
    await world.settle()
    assert world.names(SLICES) == world.names("endpoints") == []


async def test_unchanged_endpoints_are_not_written(world: World) -> None:
    put_service(world)
    put_pod(world)
    await world.run(EndpointSliceController(world.store, world.clock))
    version = world.store.current_rv()
    world.change("pods", "web", lambda pod: pod["status"].update(message="hello"))
    await world.settle()
    assert world.store.current_rv() == version + 1
    await world.run(EndpointSliceController(world.store, world.clock))
    assert world.store.current_rv() == version + 1


async def test_slice_that_somebody_deletes_is_made_again(world: World) -> None:
    put_service(world)
    put_pod(world)
    await world.run(EndpointSliceController(world.store, world.clock))
    world.store.delete(ObjectKey(SLICES, "default", world.names(SLICES)[0]))
    await world.settle()
    assert len(world.names(SLICES)) == 1


async def test_endpoints_of_a_service_without_selector_are_the_users(world: World) -> None:
    await world.run(EndpointSliceController(world.store, world.clock))
    put_service(world, selector=None)
    subsets = [{"addresses": [{"ip": "192.0.2.7"}], "notReadyAddresses": [{"ip": "192.0.2.8"}], "ports": [{"port": 9}]}]
    world.put("endpoints", "web", subsets=subsets)
    await world.settle()
    (mirror,) = world.store.list(SLICES)[0]
    assert [(e["addresses"], e["conditions"]["ready"]) for e in mirror["endpoints"]] == [
        (["192.0.2.7"], True),
        (["192.0.2.8"], False),
    ]
    assert mirror["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"].startswith("endpointslicemirroring")
    world.change("endpoints", "web", lambda obj: obj["metadata"].update(labels=SKIP))
    await world.settle()
    assert world.names(SLICES) == []
    world.store.delete(ObjectKey("services", "default", "web"))
    await world.settle()
    assert world.names("endpoints") == ["web"]


async def test_system_namespaces_have_account_and_certificate(world: World) -> None:
    await world.run(
        NamespaceController(world.store, world.clock, RESOURCES),
        ServiceAccountController(world.store, world.clock, "PEM"),
    )
    assert world.names("namespaces") == ["default", "kube-node-lease", "kube-public", "kube-system"]
    assert world.get("namespaces", "default", "")["status"] == {"phase": "Active"}
    assert world.names("serviceaccounts") == ["default"] * 4
    assert world.get("configmaps", "kube-root-ca.crt")["data"] == {"ca.crt": "PEM"}
    world.store.delete(ObjectKey("serviceaccounts", "default", "default"))
    world.change("configmaps", "kube-root-ca.crt", lambda obj: obj.update(data={}))
    await world.settle()
    assert world.names("serviceaccounts", "default") == ["default"]
    assert world.get("configmaps", "kube-root-ca.crt")["data"] == {"ca.crt": "PEM"}


async def test_deleted_namespace_is_emptied_then_gone(world: World) -> None:
    await world.run(
        NamespaceController(world.store, world.clock, RESOURCES),
        ServiceAccountController(world.store, world.clock, "PEM"),
    )
    world.store.create(ObjectKey("namespaces", "", "test"), build_namespace("test"))
    world.put("pods", "running", "test", spec={"nodeName": "node", "terminationGracePeriodSeconds": 5})
    world.put("pods", "pending", "test", spec={})
    world.put("secrets", "s", "test")
    world.put("events", "e", "test")
    await world.settle()
    world.change("namespaces", "test", lambda obj: obj["metadata"].update(deletionTimestamp="t"), "")
    await world.settle()
    assert world.get("namespaces", "test", "")["status"]["phase"] == "Terminating"
    assert world.names("pods", "test") == ["running"]
    assert world.get("pods", "running", "test")["metadata"]["deletionGracePeriodSeconds"] == 5
    assert world.names("secrets", "test") == world.names("serviceaccounts", "test") == []
    assert world.names("events", "test") == ["e"]
    world.store.delete(ObjectKey("pods", "test", "running"))
    await world.settle()
    assert "test" not in world.names("namespaces")
    assert world.names("events", "test") == []


def put_node(world: World) -> None:
    world.put("nodes", "node", "", status={"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "110"}})


def put_waiting(world: World, name: str, cpu: str = "100m", **spec: Any) -> None:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    world.put("pods", name, apiVersion="v1", kind="Pod", spec={"containers": [container], **spec}, status={})


def scheduler(world: World) -> Scheduler:
    recorder = EventRecorder(world.store, world.clock, "default-scheduler", "node")
    return Scheduler(world.store, world.clock, "node", recorder)


async def test_pod_is_bound_with_condition_and_event(world: World) -> None:
    put_node(world)
    await world.run(scheduler(world))
    put_waiting(world, "mc1")
    await world.settle()
    pod = world.get("pods", "mc1")
    assert pod["spec"]["nodeName"] == "node"
    (condition,) = pod["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["lastProbeTime"]) == ("PodScheduled", "True", None)
    assert condition["observedGeneration"] == 1
    (event,) = world.store.list("events")[0]
    assert (event["reason"], event["message"]) == ("Scheduled", "Successfully assigned default/mc1 to node")


async def test_pod_that_does_not_fit_waits_until_there_is_room(world: World) -> None:
    put_node(world)
    await world.run(scheduler(world))
    put_waiting(world, "first", "800m")
    put_waiting(world, "second", "800m")
    await world.settle()
    (condition,) = world.get("pods", "second")["status"]["conditions"]
    assert condition["reason"] == "Unschedulable"
    assert condition["message"] == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: "
        "1 No preemption victims found for incoming pod."
    )
    events = [event["reason"] for event in world.store.list("events")[0]]
    assert sorted(events) == ["FailedScheduling", "Scheduled"]
    world.store.delete(ObjectKey("pods", "default", "first"))
    await world.settle()
    assert world.get("pods", "second")["spec"]["nodeName"] == "node"
    assert world.get("pods", "second")["status"]["conditions"][0]["status"] == "True"


async def test_gated_pod_is_bound_when_its_gates_are_removed(world: World) -> None:
    put_node(world)
    await world.run(scheduler(world))
    put_waiting(world, "gated", schedulingGates=[{"name": "wait"}])
    put_waiting(world, "other", schedulerName="mine")
    await world.settle()
    assert world.get("pods", "gated")["status"] == world.get("pods", "other")["status"] == {}, "nothing is written"
    world.change("pods", "gated", lambda pod: pod["spec"].pop("schedulingGates"))
    await world.settle()
    assert world.get("pods", "gated")["spec"]["nodeName"] == "node"


async def test_what_changes_nothing_for_waiting_pods_writes_nothing(world: World) -> None:
    put_node(world)
    await world.run(scheduler(world))
    for number in range(3):
        put_waiting(world, f"waiting{number}", "8")
    put_waiting(world, "done")
    await world.settle()
    before = [world.get("pods", f"waiting{number}") for number in range(3)]
    assert [pod["status"]["conditions"][0]["reason"] for pod in before] == ["Unschedulable"] * 3
    for change in (
        lambda: world.change("pods", "waiting0", lambda pod: pod["metadata"].update(labels={"a": "b"})),
        lambda: world.change("pods", "done", lambda pod: pod["status"].update(phase="Succeeded")),
        lambda: world.change("nodes", "node", lambda node: node["status"].update(images=[]), ""),
        lambda: world.put("persistentvolumeclaims", "claim", spec={}),
    ):
        change()
        version = world.store.current_rv()
        await world.settle()
        assert world.store.current_rv() == version
    world.change("nodes", "node", lambda node: node["status"]["allocatable"].update(cpu="9"), "")
    await world.settle()
    bound = [world.get("pods", f"waiting{number}")["spec"].get("nodeName") for number in range(3)]
    assert bound == ["node", None, None]


async def test_pod_made_before_the_node_is_bound_when_the_node_appears(world: World) -> None:
    await world.run(scheduler(world))
    put_waiting(world, "early")
    await world.settle()
    put_node(world)
    await world.settle()
    assert world.get("pods", "early")["spec"]["nodeName"] == "node"


def resolve(api_version: str, kind: str) -> tuple[str, bool] | None:
    return {("v1", "Service"): ("services", True), ("v1", "ConfigMap"): ("configmaps", True)}.get((api_version, kind))


def owned_by(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"ownerReferences": [{"apiVersion": "v1", "kind": kind, "name": name, "uid": f"uid-{name}", **more}]}


async def test_dependents_of_a_gone_owner_are_deleted_down_the_chain(world: World) -> None:
    await world.run(GarbageCollector(world.store, world.clock, RESOURCES, resolve))
    world.put("services", "top")
    world.put("configmaps", "middle", metadata=owned_by("Service", "top"))
    world.put("secrets", "bottom", metadata=owned_by("ConfigMap", "middle"))
    world.put("secrets", "stranger", metadata=owned_by("Widget", "unknown"))
    world.put("secrets", "orphan", metadata=owned_by("Service", "never"))
    await world.settle()
    assert world.names("secrets") == ["bottom", "stranger"]
    world.store.delete(ObjectKey("services", "default", "top"))
    await world.settle()
    assert world.names("configmaps") == []
    assert world.names("secrets") == ["stranger"]


async def test_a_namespace_whose_owner_is_gone_is_emptied_like_any_other(world: World) -> None:
    await world.run(GarbageCollector(world.store, world.clock, (*RESOURCES, "namespaces"), resolve))
    world.put("namespaces", "shop", "", metadata=owned_by("Service", "never"), spec={"finalizers": ["kubernetes"]})
    await world.settle()
    namespace = world.get("namespaces", "shop", "")
    assert "deletionTimestamp" in namespace["metadata"]
    assert namespace["status"]["phase"] == "Terminating"


async def test_foreground_deletion_waits_for_blocking_dependents(world: World) -> None:
    await world.run(GarbageCollector(world.store, world.clock, RESOURCES, resolve))
    world.put("services", "top")
    pod = {"nodeName": "node"}
    world.put("pods", "child", metadata=owned_by("Service", "top", blockOwnerDeletion=True), spec=pod)
    marks = {"deletionTimestamp": "t", "finalizers": ["foregroundDeletion"]}
    world.change("services", "top", lambda obj: obj["metadata"].update(marks))
    await world.settle()
    assert world.names("services") == ["top"]
    assert "deletionTimestamp" in world.get("pods", "child")["metadata"]
    world.store.delete(ObjectKey("pods", "default", "child"))
    await world.settle()
    assert world.names("services") == []


async def test_orphan_deletion_leaves_the_dependents(world: World) -> None:
    await world.run(GarbageCollector(world.store, world.clock, RESOURCES, resolve))
    world.put("services", "top")
    world.put("configmaps", "child", metadata=owned_by("Service", "top"))
    marks = {"deletionTimestamp": "t", "finalizers": ["orphan"]}
    world.change("services", "top", lambda obj: obj["metadata"].update(marks))
    await world.settle()
    assert world.names("services") == []
    assert "ownerReferences" not in world.get("configmaps", "child")["metadata"]


async def test_services_of_the_instance_itself_are_there_and_are_mended(world: World) -> None:
    api = build_api_service(cluster_ip="10.200.128.1", address="10.200.0.1", port=6443)
    dns = build_dns_service(cluster_ip="10.200.128.10", address="10.200.0.1", port=5301)
    controller = BuiltinServiceController(world.store, world.clock, api, dns)
    await world.run(controller)
    assert world.get("services", "kubernetes")["spec"]["clusterIP"] == "10.200.128.1"
    assert world.get(SLICES, "kubernetes")["endpoints"][0]["addresses"] == ["10.200.0.1"]
    assert [port["targetPort"] for port in world.store.get(DNS)["spec"]["ports"]] == [5301, 5301]
    world.store.delete(ObjectKey("services", "default", "kubernetes"))
    world.store.delete(ObjectKey("endpoints", "default", "kubernetes"))
    world.store.delete(DNS)
    await world.settle()
    assert world.store.find(DNS) is not None
    assert "kubernetes" in world.names("services")
    assert "kubernetes" in world.names("endpoints")
    version = world.store.current_rv()
    for service in (api, dns):
        controller.reconcile(service.place)
    assert world.store.current_rv() == version
    await controller.stop()
    moved = build_api_service(cluster_ip="10.200.128.1", address="10.200.0.1", port=7443)
    await world.run(BuiltinServiceController(world.store, world.clock, moved))
    assert world.get("services", "kubernetes")["spec"]["ports"][0]["targetPort"] == 7443
    assert world.get("endpoints", "kubernetes")["subsets"][0]["ports"][0]["port"] == 7443
