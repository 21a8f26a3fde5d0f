from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from harness.kubelet_rig import Rig, make_pod
from podhost.api.errors import ApiError
from podhost.cri.node import LogOptions, NodeAnswer, NodeApi
from podhost.kubelet.cri_log import STDOUT, encode_record
from podhost.kubelet.node_api import KubeletNodeApi, choose_log_container

ENDED = {"terminated": {"containerID": "podhost://old"}}


@pytest.mark.parametrize(
    ("status", "previous", "expected"),
    [
        ({"state": {"running": {}}, "containerID": "podhost://new"}, False, "new"),
        ({"state": {"running": {}}, "containerID": "podhost://new", "lastState": ENDED}, True, "old"),
        ({"state": ENDED}, False, "old"),
        ({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ENDED}, False, "old"),
        ({"state": {"running": {}}, "containerID": "podhost://new"}, True,
         'previous terminated container "x" in pod "y" not found'),
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, False,
         'container "x" in pod "y" is waiting to start: ContainerCreating'),
        ({"state": {"waiting": {"reason": "ErrImagePull"}}}, False,
         'container "x" in pod "y" is waiting to start: image can\'t be pulled'),
        ({"state": {"waiting": {"reason": "ImagePullBackOff"}}}, False,
         'container "x" in pod "y" is waiting to start: trying and failing to pull image'),
        ({"state": {}}, False, 'container "x" in pod "y" is waiting to start - no logs yet'),
    ],
)  # fmt: skip
def test_which_log_is_meant(status: dict[str, Any], previous: bool, expected: str) -> None:
    if " " not in expected:
        assert choose_log_container(status, "y", "x", previous=previous) == expected
        return
    with pytest.raises(ApiError) as error:
        choose_log_container(status, "y", "x", previous=previous)
    assert (error.value.code, str(error.value)) == (400, expected)


class NoHttp:
    """A kubelet without an HTTP server."""

    paths = ()

    async def get(self, path: str, query: Mapping[str, str]) -> NodeAnswer | None:
        raise AssertionError(path)


@pytest.mark.looptime
async def test_log_of_a_running_container_is_read(rig: Rig) -> None:
    api: NodeApi = KubeletNodeApi(rig.kubelet, NoHttp())
    rig.create(make_pod())
    await asyncio.sleep(1)
    (container,) = rig.runtime.list_containers()
    container.log_path.write_bytes(encode_record(1, STDOUT, b"hello"))
    chunks = await api.logs("default", "web", "main", LogOptions())
    assert [chunk async for chunk in chunks] == [b"hello\n"]


@pytest.mark.looptime
async def test_errors_come_before_the_first_chunk(rig: Rig) -> None:
    api = KubeletNodeApi(rig.kubelet, NoHttp())
    rig.create(make_pod("web", {"name": "main", "image": "nosuch:1"}))
    await asyncio.sleep(0.5)
    with pytest.raises(ApiError, match="image can't be pulled"):
        await api.logs("default", "web", "main", LogOptions())
    with pytest.raises(ApiError, match="container other is not valid for pod web"):
        await api.logs("default", "web", "other", LogOptions())
    with pytest.raises(ApiError, match=r'container not found \("main"\)'):
        await api.exec("default", "web", "main", ("true",), tty=False, stdin=False)
    with pytest.raises(ApiError, match="not found"):
        await api.port_forward("default", "none", 80)
