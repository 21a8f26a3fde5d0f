"""The Python client ``kr8s``, asynchronous."""

from __future__ import annotations

import asyncio

import pytest

from harness.client_pod import PORT, build_client_pod
from harness.daemon import Daemon

kr8s = pytest.importorskip("kr8s")
kr8s_asyncio = pytest.importorskip("kr8s.asyncio")
objects = pytest.importorskip("kr8s.asyncio.objects")
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::DeprecationWarning",
    "ignore:Kubernetes version .* is not supported:UserWarning",  # it knows no Kubernetes as new as 1.37
)


async def test_kr8s_runs_a_pod_from_creation_to_its_end(daemon: Daemon, namespace: str) -> None:
    api = await kr8s_asyncio.api(kubeconfig=str(daemon.kubeconfig), namespace=namespace)
    assert (await api.version())["major"] == "1"
    document = build_client_pod("kr8s")
    document["metadata"]["namespace"] = namespace
    pod = await objects.Pod(document, api=api)
    await pod.create()
    await pod.wait("condition=Ready", timeout=60)
    found = [
        each async for each in api.get("pods", label_selector={"app": "kr8s"}, field_selector="status.phase=Running")
    ]
    assert [each.name for each in found] == ["kr8s"]
    assert await pod.exists()
    assert not await (await objects.Pod({"metadata": {"name": "none", "namespace": namespace}}, api=api)).exists()

    # Without stdin: it needs v5.channel.k8s.io for that, and asks for v4.
    done = await pod.exec(["sh", "-c", "echo $WHO; echo no >&2; exit 3"], check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"kr8s\n", b"no\n", 3)
    async with pod.portforward(PORT, local_port="auto") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"kr8s")
        assert await asyncio.wait_for(reader.readexactly(4), 20) == b"kr8s"
        writer.close()
    lines = []
    async for line in pod.logs(follow=True, timeout=30):
        lines.append(line)
        if line == "heard kr8s":
            break
    assert lines[0] == "listening"

    await pod.label({"more": "yes"})
    await pod.annotate(note="text")
    await pod.patch([{"op": "remove", "path": "/metadata/annotations/note"}], type="json")
    await pod.refresh()
    assert pod.labels == {"app": "kr8s", "more": "yes"}
    assert "note" not in pod.annotations
    types: list[str] = []
    watching = api.watch("pods", namespace=namespace, field_selector="metadata.name=kr8s")
    async for change, _ in watching:
        if not types:
            await pod.delete()
        types.append(change)
        if change == "DELETED":
            break
    assert types[0] == "ADDED"
    with pytest.raises(kr8s.NotFoundError):
        await pod.refresh()
