"""podhost's own API: images, kubeconfig, info, stop."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from harness.api_requests import OWN, fails
from podhost.cri.images import PullProgress


async def test_images_are_pulled_with_progress(api: Any, http: aiohttp.ClientSession) -> None:
    lines = (await (await http.post(f"{OWN}/images/pull", json={"ref": "nginx"})).text()).splitlines()
    progress, done = (json.loads(line) for line in lines)
    assert progress["progress"]["phase"] == "downloading"
    assert done["image"]["repo_tags"] == ["nginx"]
    listed = await (await http.get(f"{OWN}/images")).json()
    assert len(listed["items"]) == 1
    assert (await (await http.get(f"{OWN}/images/nginx")).json())["size_bytes"] == 5
    await http.delete(f"{OWN}/images/nginx")
    status = await fails(http, 404, "DELETE", f"{OWN}/images/nginx")
    assert status["message"] == 'cannot remove image "nginx": no such image'
    await fails(http, 404, "GET", f"{OWN}/images/docker.io%2Flibrary%2Fnginx")


async def test_progress_of_all_pulls_can_be_watched(api: Any, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{OWN}/pulls") as response:
        assert json.loads(await response.content.readline())["progress"]["ref"] == "already/running"
        (tell,) = api.images.watchers
        tell(PullProgress(ref="nginx", phase="downloading", done_bytes=3, total_bytes=9))
        line = json.loads(await response.content.readline())
        assert line["progress"]["done_bytes"] == 3
    async with asyncio.timeout(5):
        while api.images.watchers:
            await asyncio.sleep(0)


async def test_failed_pull_ends_with_its_reason(http: aiohttp.ClientSession) -> None:
    (line,) = (await (await http.post(f"{OWN}/images/pull", json={"ref": "absent"})).text()).splitlines()
    assert 'cannot pull "absent": manifest unknown' in json.loads(line)["error"]["message"]
    await fails(http, 400, "POST", f"{OWN}/images/pull", json={})


async def test_the_rest_of_podhosts_own_api(api: Any, http: aiohttp.ClientSession) -> None:
    text = await (await http.post(f"{OWN}/images/build", json={"context": "/tmp", "name": "x"})).text()
    assert [list(json.loads(line)) for line in text.splitlines()] == [["output"], ["image"]]
    text = await (await http.post(f"{OWN}/images/load", json={"source": "oci:/x", "name": "x"})).text()
    assert json.loads(text)["images"][0]["repo_tags"] == ["x"]
    assert (await (await http.post(f"{OWN}/images/prune", json={})).json()) == {"images_removed": 2, "bytes_freed": 100}
    assert (await (await http.get(f"{OWN}/kubeconfig")).json()) == {"text": "kind: Config\n"}
    info = await (await http.get(f"{OWN}/info")).json()
    assert (info["instance"], info["version"]) == ("test", "9")
    await http.post(f"{OWN}/stop", json={"pods": "leave"})
    assert api.stopped == [{"pods": "leave"}]
