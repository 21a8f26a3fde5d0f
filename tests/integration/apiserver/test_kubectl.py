"""Real kubectl against the API server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

POD = """
apiVersion: v1
kind: Pod
metadata: {name: mc1, labels: {app: mc1}}
spec:
  volumes: [{name: html, emptyDir: {}}]
  containers:
  - {name: 1st, image: nginx, volumeMounts: [{name: html, mountPath: /usr/share/nginx/html}]}
  - {name: 2nd, image: debian, command: [/bin/sh, -c, "sleep 1"]}
"""
SINGLE = """
apiVersion: v1
kind: Pod
metadata: {name: one}
spec: {containers: [{name: only, image: "nginx:1.25", ports: [{containerPort: 80}]}]}
"""
CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: x}}
data: {a: "1", b: "2"}
"""


async def create_pod(api: Any, manifest: str = SINGLE, name: str = "one") -> None:
    await api.ok("create", "-f", "-", stdin=manifest.encode())
    api.bind(name)


async def test_config_map_is_created_changed_and_deleted(api: Any) -> None:
    assert await api.ok("apply", "-f", "-", stdin=CONFIG.encode()) == "configmap/settings created\n"
    assert await api.ok("apply", "-f", "-", stdin=CONFIG.encode()) == "configmap/settings unchanged\n"
    changed = CONFIG.replace('"2"', '"3"').replace('a: "1", ', "")
    assert await api.ok("apply", "-f", "-", stdin=changed.encode()) == "configmap/settings configured\n"
    assert (await api.json("get", "cm", "settings"))["data"] == {"b": "3"}
    await api.ok("label", "cm", "settings", "tier=web")
    await api.ok("patch", "cm", "settings", "--type=json", '-p=[{"op":"add","path":"/data/c","value":"4"}]')
    await api.ok("patch", "cm", "settings", "--type=merge", '-p={"data":{"b":null}}')
    found = await api.json("get", "cm", "settings")
    assert found["data"] == {"c": "4"}
    assert found["metadata"]["labels"] == {"app": "x", "tier": "web"}
    assert await api.ok("delete", "cm", "settings") == 'configmap "settings" deleted from default namespace\n'
    code, _, err = await api.kubectl("get", "cm", "settings")
    assert (code, err) == (1, 'Error from server (NotFound): configmaps "settings" not found\n')


async def test_tables_look_as_on_a_cluster(api: Any) -> None:
    await create_pod(api)
    header = "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"
    lines = (await api.ok("get", "pods", "-o", "wide")).splitlines()
    assert lines[0].split() == header.split()
    assert lines[1].split()[:4] == ["one", "0/1", "Running", "0"]
    assert (await api.ok("get", "pods", "-A")).split()[:2] == ["NAMESPACE", "NAME"]
    assert (await api.ok("get", "all")).splitlines()[1].startswith("pod/one ")
    assert (await api.ok("get", "ns")).split()[:3] == ["NAME", "STATUS", "AGE"]
    assert (await api.ok("get", "pods", "-o", "name", "-l", "app=none")) == ""
    assert "Name:" in await api.ok("describe", "pod", "one")


async def test_api_resources_and_version(api: Any) -> None:
    resources = await api.ok("api-resources")
    for word in ("pods", "endpointslices", "discovery.k8s.io/v1", "configmaps"):
        assert word in resources
    assert "podhost.dev" not in resources
    assert "v1.37.1+podhost" in await api.ok("version")
    assert await api.ok("get", "--raw", "/healthz") == "ok"
    assert "imagePullPolicy" in await api.ok("explain", "pod.spec.containers")


async def test_pod_gets_what_kubernetes_gives_it(api: Any) -> None:
    await api.ok("create", "-f", "-", stdin=POD.encode())
    pod = await api.json("get", "pod", "mc1")
    assert pod["status"]["phase"] == "Pending"
    assert pod["status"]["qosClass"] == "BestEffort"
    spec = pod["spec"]
    assert spec["serviceAccountName"] == "default"
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert spec["enableServiceLinks"] is True
    assert [toleration["key"] for toleration in spec["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    annotations = pod["metadata"]["annotations"]
    assert annotations["podhost.dev/image-pull-policy-defaulted"] == "1st,2nd"
    assert pod["metadata"]["generation"] == 1


async def test_bad_manifests_are_refused_in_kubernetes_words(api: Any) -> None:
    unknown = SINGLE.replace("image:", "imagee:")
    code, _, err = await api.kubectl("create", "-f", "-", stdin=unknown.encode())
    assert code == 1
    assert 'strict decoding error: unknown field "spec.containers[0].imagee"' in err
    code, _, err = await api.kubectl("create", "-f", "-", "--validate=warn", stdin=unknown.encode())
    assert 'Warning: unknown field "spec.containers[0].imagee"' in err
    assert 'The Pod "one" is invalid: spec.containers[0].image: Required value' in err
    port = SINGLE.replace("containerPort: 80", "containerPort: 70000")
    code, _, err = await api.kubectl("create", "-f", "-", stdin=port.encode())
    assert "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535" in err
    kind = SINGLE.replace("kind: Pod", "kind: Pood")
    code, _, err = await api.kubectl("create", "-f", "-", stdin=kind.encode())
    assert 'no matches for kind "Pood" in version "v1"' in err
    code, _, err = await api.kubectl("create", "-n", "nowhere", "-f", "-", stdin=SINGLE.encode())
    assert 'namespaces "nowhere" not found' in err
    await api.ok("create", "-f", "-", stdin=SINGLE.encode())
    code, _, err = await api.kubectl("create", "-f", "-", stdin=SINGLE.encode())
    assert 'Error from server (AlreadyExists): error when creating "STDIN": pods "one" already exists' in err


async def test_service_is_exposed_with_address_and_node_port(api: Any) -> None:
    await api.ok("run", "web", "--image=nginx", "--port=80", "--labels=app=web")
    await api.ok("expose", "pod", "web", "--type=NodePort", "--port=80")
    service = await api.json("get", "svc", "web")
    assert service["spec"]["clusterIP"].startswith("10.96.0.")
    port = service["spec"]["ports"][0]["nodePort"]
    assert 30000 <= port <= 32767
    manifest = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "x"},
            "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]},
        }
    )
    code, _, err = await api.kubectl("create", "-f", "-", stdin=manifest.encode())
    wanted = f'The Service "x" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated\n'
    assert (code, err) == (1, wanted)
    await api.ok("label", "svc", "web", "x=y")
    assert (await api.json("get", "svc", "web"))["spec"] == service["spec"]
    await api.ok("patch", "svc", "web", "-p", '{"spec":{"type":"ClusterIP"}}')
    assert "nodePort" not in (await api.json("get", "svc", "web"))["spec"]["ports"][0]
    await api.ok("delete", "svc", "web")


async def test_watch_prints_changes(api: Any) -> None:
    await create_pod(api)
    process = await api.start_kubectl("get", "pods", "-w")
    try:
        async with asyncio.timeout(20):
            header, first = [await process.stdout.readline() for _ in range(2)]
            assert header.split()[0] == b"NAME"
            assert first.split()[2] == b"Running"
            api.server.registry.update(
                _pod_kind(),
                "default",
                "one",
                lambda p: {**p, "status": {**p["status"], "phase": "Succeeded"}},
                subresource="status",
            )
            assert (await process.stdout.readline()).split()[2] == b"Succeeded"
    finally:
        process.kill()
        await process.communicate()


def _pod_kind() -> Any:
    from podhost.api.kinds import POD

    return POD


async def test_wait_sees_the_condition(api: Any) -> None:
    await create_pod(api)
    waiting = asyncio.ensure_future(api.ok("wait", "--for=condition=Ready", "pod/one", "--timeout=20s"))
    await asyncio.sleep(0.3)
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    api.server.registry.update(
        _pod_kind(), "default", "one", lambda p: {**p, "status": {**p["status"], **ready}}, subresource="status"
    )
    assert await waiting == "pod/one condition met\n"


async def test_deleting_a_running_pod_waits_for_the_kubelet(api: Any) -> None:
    from podhost.store import ObjectKey

    await create_pod(api)
    deleting = asyncio.ensure_future(api.ok("delete", "pod", "one"))
    key = ObjectKey("pods", "default", "one")
    watch = api.store.watch("pods", "default")
    async for event in watch:
        if "deletionTimestamp" in event.object["metadata"]:
            break
    watch.close()
    assert event.object["metadata"]["deletionGracePeriodSeconds"] == 30
    assert (await api.ok("get", "pods")).splitlines()[1].split()[2] == "Terminating"
    api.store.delete(key, expected_uid=event.object["metadata"]["uid"])
    assert await deleting == 'pod "one" deleted from default namespace\n'


async def test_forced_deletion_is_at_once(api: Any) -> None:
    await create_pod(api)
    await api.ok("delete", "pod", "one", "--force", "--grace-period=0")
    assert api.store.list("pods")[0] == []


async def test_namespace_is_made_and_becomes_terminating(api: Any) -> None:
    await api.ok("create", "namespace", "team")
    await api.ok("create", "configmap", "x", "--from-literal=a=b", "-n", "team")
    await api.ok("delete", "namespace", "team", "--wait=false")
    _, _, err = await api.kubectl("create", "configmap", "y", "-n", "team")
    assert "because it is being terminated" in err
    _, _, err = await api.kubectl("delete", "namespace", "default")
    assert "this namespace may not be deleted" in err


async def test_typed_commands_of_kubectl_send_protobuf(api: Any) -> None:
    await api.ok("create", "serviceaccount", "robot")
    await api.ok("create", "secret", "generic", "keys", "--from-literal=password=s3cret")
    await api.ok("create", "configmap", "settings", "--from-literal=a=1", "--from-literal=b=")
    await api.ok("create", "service", "nodeport", "web", "--tcp=80:8080")
    assert (await api.json("get", "secret", "keys"))["data"] == {"password": "czNjcmV0"}
    assert (await api.json("get", "cm", "settings"))["data"] == {"a": "1", "b": ""}
    spec = (await api.json("get", "svc", "web"))["spec"]
    port = spec["ports"][0]
    assert (port["name"], port["port"], port["targetPort"], spec["selector"]) == ("80-8080", 80, 8080, {"app": "web"})


async def test_replace_and_edit_conflicts(api: Any) -> None:
    await api.ok("create", "-f", "-", stdin=CONFIG.encode())
    old = await api.ok("get", "cm", "settings", "-o", "yaml")
    await api.ok("patch", "cm", "settings", "-p", '{"data":{"a":"9"}}')
    code, _, err = await api.kubectl("replace", "-f", "-", stdin=old.encode())
    assert code == 1
    assert "the object has been modified; please apply your changes to the latest version and try again" in err


async def test_dry_run_stores_nothing(api: Any) -> None:
    await api.ok("apply", "--dry-run=server", "-f", "-", stdin=CONFIG.encode())
    code, _, _ = await api.kubectl("get", "cm", "settings")
    assert code == 1


async def test_delete_by_selector_and_all(api: Any) -> None:
    for name in ("a", "b", "c"):
        await api.ok("create", "configmap", name)
    await api.ok("label", "cm", "a", "b", "drop=yes")
    await api.ok("delete", "cm", "-l", "drop=yes")
    assert (await api.ok("get", "cm", "-o", "name")).split() == ["configmap/c"]
    await api.ok("delete", "cm", "--all")
    assert (await api.ok("get", "cm", "-o", "name")) == ""


async def test_strangers_are_kept_out(api: Any) -> None:
    code, _, _ = await api.kubectl("get", "pods", user="nobody")
    assert code == 1
    code, _, err = await api.kubectl("get", "pods", user="bob")
    assert 'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default"' in err


async def test_logs_and_container_choice(api: Any) -> None:
    await create_pod(api, POD, "mc1")
    _, _, err = await api.kubectl("exec", "mc1", "-c", "3rd", "--", "true")
    assert "container 3rd is not valid for pod mc1" in err
    raw = "/api/v1/namespaces/default/pods/mc1/log"
    _, _, err = await api.kubectl("get", "--raw", raw)
    assert "a container name must be specified for pod mc1, choose one of: [1st 2nd]" in err
    api.node.lines = [b"one\n", b"two\n"]
    assert await api.ok("logs", "mc1", "-c", "1st", "--tail=5", "--timestamps") == "one\ntwo\n"
    options = api.node.log_calls[-1]
    assert (options.tail_lines, options.timestamps, options.follow) == (5, True, False)


async def test_followed_log_streams_and_ends_with_its_reader(api: Any) -> None:
    await create_pod(api)
    api.node.lines = [b"begin\n"]
    process = await api.start_kubectl("logs", "-f", "one")
    assert await process.stdout.readline() == b"begin\n"
    await api.node.follow.put(b"more\n")
    assert await process.stdout.readline() == b"more\n"
    process.kill()
    await process.communicate()
    async with asyncio.timeout(5):
        while api.node.followers:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("code", [0, 3])
async def test_exec_hands_output_and_exit_code_back(api: Any, code: int) -> None:
    await create_pod(api)
    script = f"echo out; echo err >&2; exit {code}"
    result, out, err = await api.kubectl("exec", "one", "--", "/bin/sh", "-c", script)
    assert result == code
    assert out == "out\n"
    assert err.startswith("err\n")
    assert all(session.closed for session in api.node.sessions)


async def test_exec_stdin_ends_and_large_output_arrives_whole(api: Any) -> None:
    await create_pod(api)
    data = b"0123456789abcdef" * 65536
    process = await api.start_kubectl("exec", "-i", "one", "--", "/bin/cat")
    async with asyncio.timeout(20):
        out, err = await process.communicate(data)
    assert err == b""
    assert out == data


async def test_exec_of_a_vanished_client_is_ended(api: Any) -> None:
    await create_pod(api)
    process = await api.start_kubectl("exec", "one", "--", "/bin/sh", "-c", "echo up; exec sleep 1000")
    assert await process.stdout.readline() == b"up\n"
    process.kill()
    await process.communicate()
    async with asyncio.timeout(5):
        while not api.node.sessions[0].closed:
            await asyncio.sleep(0.01)


async def test_exec_that_cannot_start_says_why(api: Any) -> None:
    from podhost.errors import PodhostError

    await create_pod(api)
    api.node.error = PodhostError('cannot run "nope": no such file')
    code, _, err = await api.kubectl("exec", "one", "--", "nope")
    assert code == 1
    assert 'error executing command in container: cannot run "nope": no such file' in err


@pytest.mark.parametrize("verb", ["exec", "attach"])
async def test_refusal_by_the_node_is_shown_as_it_is(api: Any, verb: str) -> None:
    from podhost.api import errors

    await create_pod(api)
    api.node.error = errors.internal_error('unable to upgrade connection: container not found ("c")')
    words = ("one", "--", "true") if verb == "exec" else ("one",)
    code, _, err = await api.kubectl(verb, *words)
    assert code == 1
    assert 'error: Internal error occurred: unable to upgrade connection: container not found ("c")' in err


async def test_attach(api: Any) -> None:
    await create_pod(api)
    assert "attached" in await api.ok("attach", "one")


async def test_events_are_found_by_their_object(api: Any) -> None:
    from podhost.aiokit.clock import SystemClock
    from podhost.store import EventRecorder, ObjectKey

    await create_pod(api)
    recorder = EventRecorder(api.store, SystemClock(), "kubelet", "node1")
    recorder.event(api.store.get(ObjectKey("pods", "default", "one")), "Normal", "Pulled", "it is here")
    assert "it is here" in await api.ok("describe", "pod", "one")
    assert "it is here" in await api.ok("get", "events", "--field-selector", "involvedObject.name=one")
    assert "it is here" in await api.ok("events", "--for", "pod/one")
