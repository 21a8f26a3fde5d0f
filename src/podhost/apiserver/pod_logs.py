"""``pods/log``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from podhost.aiokit.clock import Clock
from podhost.api import errors
from podhost.api.field_errors import FieldError, Path
from podhost.api.time import parse_time
from podhost.apiserver import answers
from podhost.apiserver.call import Call
from podhost.apiserver.pod_containers import choose_container
from podhost.cri.node import LogOptions, NodeApi

Obj = dict[str, Any]

_NS_PER_S = 1_000_000_000
_STREAMS = ("All", "Stderr", "Stdout")
_NO_FIELD = Path("[]")
"""How Kubernetes prints the path of several fields together."""
_WRITE_TIMEOUT_S = 600.0


def read_log_options(call: Call, now_ns: int) -> LogOptions:
    """``PodLogOptions`` from the query.

    Raises:
        ApiError: 422 with all that is wrong, 400 for what is no number.
    """
    problems: list[FieldError] = []
    tail, limit, since_s = (call.integer(each) for each in ("tailLines", "limitBytes", "sinceSeconds"))
    since_time, stream = call.text("sinceTime"), call.text("stream") or "All"
    if tail is not None and tail < 0:
        problems.append(Path("tailLines").invalid(tail, "must be greater than or equal to 0"))
    if limit is not None and limit < 1:
        problems.append(Path("limitBytes").invalid(limit, "must be greater than 0"))
    if since_s is not None and since_time:
        problems.append(_NO_FIELD.forbidden("at most one of `sinceTime` or `sinceSeconds` may be specified"))
    elif since_s is not None and since_s < 1:
        problems.append(Path("sinceSeconds").invalid(since_s, "must be greater than 0"))
    if stream not in _STREAMS:
        problems.append(Path("stream").not_supported(stream, _STREAMS))
    if tail is not None and stream != "All":
        problems.append(_NO_FIELD.forbidden("`tailLines` and specific `stream` are mutually exclusive for now"))
    if problems:
        raise errors.invalid("PodLogOptions", "", call.name, problems)
    return LogOptions(
        follow=call.flag("follow"),
        previous=call.flag("previous"),
        timestamps=call.flag("timestamps"),
        since_ns=_since_ns(since_s, since_time, now_ns),
        tail_lines=tail,
        limit_bytes=limit,
        stream=stream,
    )


async def stream_log(call: Call, pod: Obj, node: NodeApi, clock: Clock) -> web.StreamResponse:
    """Send a container's log, as it grows if the client wants that."""
    options = read_log_options(call, clock.now_ns())
    container = choose_container(pod, call.text("container"))
    response = web.StreamResponse(headers={"Content-Type": "text/plain", "Cache-Control": "no-cache, private"})
    answers.add_warnings(response, call.warnings)
    if not (pod.get("spec") or {}).get("nodeName"):
        await response.prepare(call.request)
        return response  # as Kubernetes: a pod without a node has an empty log
    chunks = await node.logs(call.namespace, call.name, container, options)
    try:
        await response.prepare(call.request)
        async for chunk in chunks:
            async with asyncio.timeout(_WRITE_TIMEOUT_S):
                await response.write(chunk)
        await response.write_eof()
    except (ConnectionError, TimeoutError):
        pass  # the reader has gone
    finally:
        await _close(chunks)
    return response


async def _close(chunks: AsyncIterator[bytes]) -> None:
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()


def _since_ns(since_s: int | None, since_time: str, now_ns: int) -> int:
    if since_s is not None:
        return now_ns - since_s * _NS_PER_S
    if not since_time:
        return 0
    try:
        return round(parse_time(since_time).timestamp() * 1_000_000) * 1000
    except ValueError as error:
        raise errors.bad_request(str(error)) from error
