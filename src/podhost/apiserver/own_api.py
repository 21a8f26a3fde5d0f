"""podhost's own API, group ``podhost.dev/v1alpha1``: images, kubeconfig, info, stop.  Plain JSON.

Long work (pull, load, build) answers with one JSON object a line: ``{"progress": …}`` and ``{"output": …}`` as
it goes, and at last ``{"image": …}`` (load: also ``images`` and the ``names`` loaded) or ``{"error": Status}``.
A client that leaves ends the work.

``GET /pulls`` shows the progress of all pulls, also of those that pods wait for: ``{"progress": …}`` lines for as
long as somebody looks.  It starts and ends no pull.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from podhost.aiokit.tasks import Tasks
from podhost.api import errors
from podhost.apiserver import answers, bodies
from podhost.apiserver.call import Call
from podhost.apiserver.settings import ApiServerSettings, DaemonHooks
from podhost.cri.images import AuthConfig, Image, ImageService, PullProgress
from podhost.errors import NotFoundError

Obj = dict[str, Any]
T = TypeVar("T")
Emit = Callable[[Obj], None]

_MAX_PENDING_LINES = 1000


class PullBody(msgspec.Struct):
    ref: str
    auths: tuple[AuthConfig, ...] = ()


class LoadBody(msgspec.Struct):
    source: str
    name: str | None = None


class BuildBody(msgspec.Struct):
    context: str
    name: str
    containerfile: str | None = None


class TagBody(msgspec.Struct):
    source: str
    name: str


class OwnApiHandlers:
    """Handlers of podhost's own routes."""

    def __init__(self, images: ImageService, settings: ApiServerSettings, hooks: DaemonHooks) -> None:
        self._images = images
        self._settings = settings
        self._hooks = hooks

    async def list_images(self, call: Call) -> web.StreamResponse:
        return answers.answer_json({"items": self._images.list_images()})

    async def inspect_image(self, call: Call) -> web.StreamResponse:
        ref = call.params["ref"]
        image = self._images.image_status(ref)
        if image is None:
            raise errors.not_found("images", ref, "podhost.dev")
        return answers.answer_json(image)

    async def remove_image(self, call: Call) -> web.StreamResponse:
        await self._images.remove_image(call.params["ref"])
        return answers.answer_json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})

    async def tag_image(self, call: Call) -> web.StreamResponse:
        body = await _read(call, TagBody)
        return answers.answer_json(await self._images.tag_image(body.source, body.name))

    async def prune_images(self, call: Call) -> web.StreamResponse:
        count, freed = await self._images.prune()
        return answers.answer_json({"images_removed": count, "bytes_freed": freed})

    async def pull_image(self, call: Call) -> web.StreamResponse:
        body = await _read(call, PullBody)

        async def work(emit: Emit) -> Obj:
            image = await self._images.pull_image(body.ref, auths=body.auths, progress=_progress_to(emit))
            return {"image": image}

        return await _stream_work(call, work)

    async def watch_pulls(self, call: Call) -> web.StreamResponse:
        lines: asyncio.Queue[Obj] = asyncio.Queue(_MAX_PENDING_LINES)

        def on_progress(progress: PullProgress) -> None:
            if not lines.full():
                lines.put_nowait({"progress": progress})

        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(call.request)
        unsubscribe = self._images.subscribe_pulls(on_progress)
        try:
            while True:
                await response.write(msgspec.json.encode(await lines.get()) + b"\n")
        except ConnectionError:
            pass  # nobody looks any more
        finally:
            unsubscribe()
        return response

    async def load_image(self, call: Call) -> web.StreamResponse:
        body = await _read(call, LoadBody)

        async def work(emit: Emit) -> Obj:
            loaded: dict[str, None] = {}

            def on_progress(progress: PullProgress) -> None:
                if progress.phase == "done":
                    loaded[progress.ref] = None
                emit({"progress": progress})

            images = await self._images.load_image(body.source, name=body.name, progress=on_progress)
            if not images:
                raise NotFoundError(f'cannot load "{body.source}": it holds no image')
            return {"image": images[0], "images": images, "names": list(loaded)}

        return await _stream_work(call, work)

    async def build_image(self, call: Call) -> web.StreamResponse:
        body = await _read(call, BuildBody)
        containerfile = Path(body.containerfile) if body.containerfile else None

        async def work(emit: Emit) -> Obj:
            image: Image = await self._images.build_image(
                Path(body.context),
                name=body.name,
                containerfile=containerfile,
                output=lambda data: emit({"output": data.decode(errors="replace")}),
            )
            return {"image": image}

        return await _stream_work(call, work)

    async def kubeconfig(self, call: Call) -> web.StreamResponse:
        return answers.answer_json({"text": self._hooks.kubeconfig()})

    async def info(self, call: Call) -> web.StreamResponse:
        facts = {
            "instance": self._settings.instance,
            "pid": os.getpid(),
            "gitVersion": self._settings.version,
            "addresses": self._settings.server_addresses,
        }
        return answers.answer_json({**facts, **self._hooks.info()})

    async def stop(self, call: Call) -> web.StreamResponse:
        if self._hooks.stop is None:
            raise errors.service_unavailable("this server cannot be stopped by request")
        await self._hooks.stop(await bodies.read_document(call))
        return answers.answer_json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})


async def _read(call: Call, wanted: type[T]) -> T:
    """The body as ``wanted``.  Raises ApiError (400)."""
    try:
        return msgspec.convert(await bodies.read_document(call), wanted)
    except msgspec.ValidationError as error:
        raise errors.bad_request(f"cannot read the request: {error}") from error


def _progress_to(emit: Emit) -> Callable[[PullProgress], None]:
    return lambda progress: emit({"progress": progress})


async def _stream_work(call: Call, work: Callable[[Emit], Awaitable[Obj]]) -> web.StreamResponse:
    """Run ``work`` and send what it emits, line by line; a reader that is slow misses some progress."""
    lines: asyncio.Queue[Obj | None] = asyncio.Queue()

    def emit(line: Obj) -> None:
        if lines.qsize() < _MAX_PENDING_LINES or "progress" not in line:
            lines.put_nowait(line)

    async def run() -> None:
        try:
            lines.put_nowait(await work(emit))
        except Exception as error:
            lines.put_nowait({"error": answers.to_api_error(error).status})
        finally:
            lines.put_nowait(None)

    tasks = Tasks()
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(call.request)
    tasks.spawn(run(), name=f"{call.route.pattern}")
    try:
        while (line := await lines.get()) is not None:
            await response.write(msgspec.json.encode(line) + b"\n")
        await response.write_eof()
    except ConnectionError:
        pass  # the client has gone; the work ends with it
    finally:
        await tasks.cancel_all()
    return response
