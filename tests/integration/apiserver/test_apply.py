"""Server-side apply and managed fields with real kubectl."""

from __future__ import annotations

import json
from typing import Any

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - {name: web, image: "nginx:1.25", ports: [{containerPort: 80}], env: [{name: A, value: "1"}]}
"""
CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: "1", b: "2"}
"""


def managers(obj: dict[str, Any]) -> list[tuple[str, str, str]]:
    entries = obj["metadata"].get("managedFields", ())
    return [(entry["manager"], entry["operation"], entry.get("subresource", "")) for entry in entries]


async def read(api: Any, *args: str) -> Any:
    return json.loads(await api.ok("get", *args, "-o", "json", "--show-managed-fields"))


async def test_server_side_apply_creates_changes_and_removes(api: Any) -> None:
    def apply(text: str, *flags: str) -> Any:
        return api.kubectl("apply", "--server-side", "-f", "-", *flags, stdin=text.encode())

    assert (await apply(POD))[1] == "pod/web serverside-applied\n"
    made = await read(api, "pod", "web")
    assert managers(made) == [("kubectl", "Apply", "")]
    assert made["metadata"]["managedFields"][0]["fieldsV1"] == {
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {
            "f:containers": {
                'k:{"name":"web"}': {
                    ".": {},
                    "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}},
                    "f:image": {},
                    "f:name": {},
                    "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                }
            }
        },
    }
    version = made["metadata"]["resourceVersion"]
    assert (await apply(POD))[0] == 0
    assert (await read(api, "pod", "web"))["metadata"]["resourceVersion"] == version
    assert (await apply(POD.replace("labels: {app: web}", "labels: {tier: x}")))[0] == 0
    assert (await read(api, "pod", "web"))["metadata"]["labels"] == {"tier": "x"}
    changed = POD.replace("nginx:1.25", "nginx:1.26")
    code, _, err = await apply(changed, "--field-manager=other")
    assert code == 1
    assert err.startswith(
        'error: Apply failed with 1 conflict: conflict with "kubectl": .spec.containers[name="web"].image\n'
        "Please review the fields above--they currently have other managers."
    )
    assert (await apply(changed, "--field-manager=other", "--force-conflicts"))[0] == 0
    assert (await read(api, "pod", "web"))["spec"]["containers"][0]["image"] == "nginx:1.26"
    code, _, err = await apply(POD.replace("image:", "imag:"))
    assert (code, err) == (
        1,
        "Error from server: failed to create typed patch object (default/web; /v1, Kind=Pod): "
        '.spec.containers[name="web"].imag: field not declared in schema\n',
    )


async def test_every_write_is_recorded_with_its_manager_and_subresource(api: Any) -> None:
    await api.ok("create", "-f", "-", stdin=POD.encode())
    await api.ok("label", "pod", "web", "x=y")
    await api.ok("patch", "pod", "web", "--subresource=status", "--type=merge", '-p={"status":{"message":"m"}}')
    found = await read(api, "pod", "web")
    assert sorted(managers(found)) == [
        ("kubectl-create", "Update", ""),
        ("kubectl-label", "Update", ""),
        ("kubectl-patch", "Update", "status"),
    ]
    created = next(e for e in found["metadata"]["managedFields"] if e["manager"] == "kubectl-create")["fieldsV1"]
    assert created["f:metadata"] == {"f:labels": {".": {}, "f:app": {}}}
    assert set(created["f:spec"]) == {
        "f:containers",
        "f:dnsPolicy",
        "f:enableServiceLinks",
        "f:restartPolicy",
        "f:schedulerName",
        "f:securityContext",
        "f:terminationGracePeriodSeconds",
    }


async def test_client_side_apply_moves_to_server_side_apply_and_diff_tells_what_would_change(api: Any) -> None:
    await api.ok("apply", "-f", "-", stdin=CONFIG.encode())
    changed = CONFIG.replace('"2"', '"3"')
    for flags in ((), ("--server-side",)):
        code, out, err = await api.kubectl("diff", *flags, "-f", "-", stdin=changed.encode())
        assert (code, err) == (1, ""), err
        assert '-  b: "2"\n+  b: "3"\n' in out
    assert (await api.json("get", "cm", "settings"))["data"]["b"] == "2"
    assert await api.ok("apply", "--server-side", "-f", "-", stdin=changed.encode()) == (
        "configmap/settings serverside-applied\n"
    )
    found = await read(api, "cm", "settings")
    # kubectl keeps its annotation under a manager of its own.
    assert sorted(managers(found)) == [("kubectl", "Apply", ""), ("kubectl-last-applied", "Apply", "")]
    assert '"b":"3"' in found["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    without = changed.replace('a: "1", ', "")
    await api.ok("apply", "--server-side", "-f", "-", stdin=without.encode())
    assert (await api.json("get", "cm", "settings"))["data"] == {"b": "3"}
    assert await api.ok("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=CONFIG.encode()) == (
        "configmap/settings serverside-applied (server dry run)\n"
    )
    assert (await api.json("get", "cm", "settings"))["data"] == {"b": "3"}


async def test_apply_needs_a_manager_and_no_managed_fields(api: Any) -> None:
    config = CONFIG.replace("{name: settings}", "{name: settings, managedFields: [{}]}")
    code, _, err = await api.kubectl("apply", "--server-side", "-f", "-", stdin=config.encode())
    assert (code, err) == (1, "Error from server (BadRequest): metadata.managedFields must be nil\n")
    wrong = CONFIG.replace("kind: ConfigMap", "kind: Secret")
    assert (await api.kubectl("apply", "--server-side", "-f", "-", stdin=wrong.encode()))[0] == 1
