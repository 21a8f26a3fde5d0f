"""Binding pods to nodes: as a subresource of the pod, and as the resource that came before it."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from harness.api_requests import PODS, fails, make, pod

BINDINGS = "/api/v1/namespaces/default/bindings"


def binding(name: str = "one", *, target: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    target = {"kind": "Node", "name": "n1"} if target is None else target
    return {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, **metadata}, "target": target}


@pytest.mark.parametrize("path", [f"{PODS}/one/binding", BINDINGS])
async def test_a_binding_gives_a_pod_its_node_once(http: aiohttp.ClientSession, path: str) -> None:
    await make(http, PODS, pod())
    order = binding(labels={"zone": "z1"}, annotations={"why": "there is no other"})
    status = await make(http, path, order)
    assert (status["kind"], status["status"]) == ("Status", "Success")
    bound = await (await http.get(f"{PODS}/one")).json()
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["metadata"]["labels"]["zone"] == "z1"
    assert bound["metadata"]["annotations"]["why"] == "there is no other"
    assert [(each["type"], each["status"]) for each in bound["status"]["conditions"]] == [("PodScheduled", "True")]
    status = await fails(http, 409, "POST", path, json=order)
    assert status["message"] == (
        'Operation cannot be fulfilled on pods/binding "one": pod one is already assigned to node "n1"'
    )


async def test_a_binding_means_one_pod_that_waits_for_a_node(http: aiohttp.ClientSession) -> None:
    made = await make(http, PODS, pod())
    status = await fails(http, 409, "POST", BINDINGS, json=binding(uid="another"))
    assert "Precondition failed: UID in precondition: another" in status["message"]
    status = await fails(http, 404, "POST", BINDINGS, json=binding("two"))
    assert status["message"] == 'pods "two" not found'
    status = await fails(http, 400, "POST", f"{PODS}/one/binding", json=binding("two"))
    assert status["message"] == "name in URL does not match name in Binding object"
    gated = pod("gated")
    gated["spec"]["schedulingGates"] = [{"name": "example.com/wait"}]
    await make(http, PODS, gated)
    status = await fails(http, 409, "POST", BINDINGS, json=binding("gated"))
    assert status["message"].endswith("pod gated has non-empty .spec.schedulingGates")
    await make(http, f"{BINDINGS}?dryRun=All", binding(uid=made["metadata"]["uid"]))
    assert "nodeName" not in (await (await http.get(f"{PODS}/one")).json())["spec"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"kind": "Node"}, "target.name: Required value"),
        ({"kind": "Rack", "name": "n1"}, 'target.kind: Unsupported value: "Rack": supported values: "Node", "<empty>"'),
    ],
)
async def test_the_target_of_a_binding_is_a_node(
    http: aiohttp.ClientSession, target: dict[str, Any], message: str
) -> None:
    await make(http, PODS, pod())
    status = await fails(http, 500, "POST", BINDINGS, json=binding(target=target))
    assert status["message"] == message


async def test_bindings_can_only_be_created(http: aiohttp.ClientSession) -> None:
    resources = (await (await http.get("/api/v1")).json())["resources"]
    (found,) = [each for each in resources if each["name"] == "bindings"]
    assert (found["kind"], found["namespaced"], found["verbs"]) == ("Binding", True, ["create"])
    await fails(http, 405, "GET", BINDINGS)
