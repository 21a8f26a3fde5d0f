"""The Python client ``kubernetes_asyncio``: typed, watch, WebSockets."""

from __future__ import annotations

from typing import Any

import pytest

from harness.client_pod import build_client_pod
from harness.daemon import Daemon

client_module = pytest.importorskip("kubernetes_asyncio.client")
config = pytest.importorskip("kubernetes_asyncio.config")
stream = pytest.importorskip("kubernetes_asyncio.stream")
watch = pytest.importorskip("kubernetes_asyncio.watch")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

SAY = "import socket; s = socket.create_connection(('127.0.0.1', 7000)); s.sendall(b'asyncio'); s.recv(9)"


async def wait_ready(core: Any, namespace: str, version: str) -> list[str]:
    types = []
    async with watch.Watch() as changes:
        options = {"label_selector": "app=aio", "resource_version": version, "timeout_seconds": 60}
        async for event in changes.stream(core.list_namespaced_pod, namespace, **options):
            types.append(event["type"])
            conditions = event["object"].status.conditions or []
            if any(each.type == "Ready" and each.status == "True" for each in conditions):
                return types
    raise AssertionError(f"the pod did not become ready: {types}")


async def test_kubernetes_asyncio_runs_a_pod_from_creation_to_its_end(daemon: Daemon, namespace: str) -> None:
    settings = client_module.Configuration()
    await config.load_kube_config(config_file=str(daemon.kubeconfig), client_configuration=settings)
    async with client_module.ApiClient(settings) as api, stream.WsApiClient(settings) as sockets:
        core, channels = client_module.CoreV1Api(api), client_module.CoreV1Api(sockets)
        version = (await core.list_namespaced_pod(namespace)).metadata.resource_version
        await core.create_namespaced_pod(namespace, build_client_pod("aio"))
        types = await wait_ready(core, namespace, version)
        assert types[0] == "ADDED"
        listed = await core.list_namespaced_pod(namespace, label_selector="app", field_selector="metadata.name=aio")
        assert [pod.metadata.name for pod in listed.items] == ["aio"]

        options = {"stdout": True, "stderr": True, "stdin": False, "tty": False}
        call = channels.connect_get_namespaced_pod_exec
        assert await call("aio", namespace, command=["printenv", "WHO"], **options) == "aio\n"
        socket = await call("aio", namespace, command=["sh", "-c", "exit 4"], _preload_content=False, **options)
        async with socket as messages:
            errors = [message.data async for message in messages if message.data[0] == stream.ws_client.ERROR_CHANNEL]
        assert sockets.parse_error_data(errors[0][1:]) == 4

        lines = []
        async with watch.Watch() as logs:
            async for line in logs.stream(core.read_namespaced_pod_log, "aio", namespace):
                lines.append(line.strip())
                if lines[-1] == "listening":
                    await call("aio", namespace, command=["python3", "-c", SAY], **options)
                if lines[-1] == "heard asyncio":
                    break
        assert lines[0] == "listening"

        patched = await core.patch_namespaced_pod("aio", namespace, {"metadata": {"labels": {"more": "yes"}}})
        assert patched.metadata.labels == {"app": "aio", "more": "yes"}
        apply = {
            "body": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}},
            "_content_type": "application/apply-patch+yaml",
        }
        made = await core.patch_namespaced_config_map("m", namespace, field_manager="one", **apply)
        assert made.metadata.managed_fields[0].operation == "Apply"
        await core.delete_namespaced_pod("aio", namespace)
        since = {"resource_version": patched.metadata.resource_version, "timeout_seconds": 60}
        async with watch.Watch() as changes:
            async for event in changes.stream(core.list_namespaced_pod, namespace, **since):
                if event["type"] == "DELETED":
                    break
        with pytest.raises(client_module.ApiException) as gone:
            await core.read_namespaced_pod("aio", namespace)
        assert gone.value.status == 404
