"""Probes and hooks as the daemon carries them out: exec by the runtime, the others over the pod's network."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from podhost.aiokit import failpoint
from podhost.api import models
from podhost.cri.runtime import ExecResult, RuntimeService
from podhost.errors import PodhostError
from podhost.kubelet.dial import DialError, dial, join_host_port
from podhost.kubelet.expansion import expand
from podhost.kubelet.go_format import format_names, quote
from podhost.kubelet.grpc_health import GrpcTarget, check_grpc_health
from podhost.kubelet.handlers import HandlerTarget, HookError
from podhost.kubelet.http_get import PLAIN_ANSWER, BodyError, HttpGetError, http_get
from podhost.kubelet.http_request import HttpRequest, build_request, resolve_port
from podhost.kubelet.probe_state import Outcome, Verdict
from podhost.linux.namespace_sockets import NamespaceSockets

_STEP_PROBE = failpoint.register("probe.10-run")
_MAX_TEXT_BYTES = 10 << 10
"""Of a probe's output, as in the kubelet."""
_EXEC_SLOTS = 4 * (os.cpu_count() or 1)
_EXEC_SLOT_S = 0.25


class Pace:
    """Lets so many begin at a time; one that takes longer than ``hold_s`` holds the next one up no further.

    Containers that were started together are probed together: hundreds of commands at the same instant would
    make each other miss their timeouts.
    """

    def __init__(self, slots: int, hold_s: float) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._hold_s = hold_s

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn."""
        await self._slots.acquire()
        held = True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self._slots.release()

        timer = asyncio.get_running_loop().call_later(self._hold_s, release)
        try:
            yield
        finally:
            timer.cancel()
            release()


class PodHandlers:
    """:class:`podhost.kubelet.handlers.Handlers` on the runtime and the network."""

    def __init__(self, runtime: RuntimeService) -> None:
        self._runtime = runtime
        self._sockets = NamespaceSockets()
        self._pace = Pace(_EXEC_SLOTS, _EXEC_SLOT_S)

    def close(self) -> None:
        """Give back what is kept for all.  Idempotent."""
        self._sockets.close()

    # -- probes ---------------------------------------------------------------------------------------------

    async def probe(self, target: HandlerTarget, probe: models.Probe, timeout_s: float) -> Outcome:
        """One run of a probe."""
        try:
            failpoint.hit(_STEP_PROBE)
            if probe.exec is not None:
                return await self._probe_exec(target, probe.exec, timeout_s)
            if probe.http_get is not None:
                return await self._probe_http(target, probe.http_get, timeout_s)
            if probe.tcp_socket is not None:
                return await self._probe_tcp(target, probe.tcp_socket, timeout_s)
            if probe.grpc is not None:
                return await self._probe_grpc(target, probe.grpc, timeout_s)
        except (PodhostError, OSError, ValueError) as error:
            return Outcome(Verdict.UNKNOWN, str(error))
        return Outcome(Verdict.UNKNOWN, f"missing probe handler for {target.container.name}")

    async def _probe_exec(self, target: HandlerTarget, action: models.ExecAction, timeout_s: float) -> Outcome:
        variables = {variable.name: variable.value or "" for variable in target.container.env}
        command = tuple(expand(word, variables) for word in action.command)
        try:
            async with self._pace.turn():
                result = await self._runtime.exec_sync(target.container_id, command, timeout_s)
        except TimeoutError:
            return Outcome(Verdict.FAILURE, f"command {quote(' '.join(command))} timed out")
        verdict = Verdict.FAILURE if result.exit_code else Verdict.SUCCESS
        return Outcome(verdict, _read_output(result))

    async def _probe_http(self, target: HandlerTarget, action: models.HTTPGetAction, timeout_s: float) -> Outcome:
        request = build_request(action, target.container, target.pod_ip, "probe")
        try:
            answer = await http_get(self._sockets, target.netns, request, timeout_s)
        except HttpGetError as error:
            return Outcome(Verdict.FAILURE, str(error))
        except BodyError as error:
            return Outcome(Verdict.UNKNOWN, str(error))
        body = answer.body.decode(errors="replace")
        if 200 <= answer.status < 300:
            return Outcome(Verdict.SUCCESS, body)
        if 300 <= answer.status < 400:
            return Outcome(Verdict.WARNING, f"Probe terminated redirects, Response body: {body}")
        return Outcome(Verdict.FAILURE, f"HTTP probe failed with statuscode: {answer.status}")

    async def _probe_tcp(self, target: HandlerTarget, action: models.TCPSocketAction, timeout_s: float) -> Outcome:
        port = resolve_port(action.port, target.container)
        host = action.host or target.pod_ip
        try:
            async with asyncio.timeout(timeout_s):
                sock = await dial(self._sockets, target.netns, host, port)
        except DialError as error:
            return Outcome(Verdict.FAILURE, str(error))
        except TimeoutError:
            return Outcome(Verdict.FAILURE, f"dial tcp {join_host_port(host, port)}: i/o timeout")
        sock.close()
        return Outcome(Verdict.SUCCESS)

    async def _probe_grpc(self, target: HandlerTarget, action: models.GRPCAction, timeout_s: float) -> Outcome:
        where = GrpcTarget(target.pod_ip, action.port, action.service or "", tls=action.mode == "TLS")
        return await check_grpc_health(self._sockets, target.netns, where, timeout_s)

    # -- hooks ----------------------------------------------------------------------------------------------

    async def run_hook(self, target: HandlerTarget, handler: models.LifecycleHandler, pod: models.Pod) -> str | None:
        """One hook, to its end."""
        place = f"for Container {quote(target.container.name)} in Pod {quote(_format_pod(pod))} failed"
        if handler.exec is not None:
            await self._run_exec_hook(target, handler.exec.command, place)
        elif handler.http_get is not None:
            return await self._run_http_hook(target, handler.http_get, place)
        elif handler.sleep is not None:
            await asyncio.sleep(handler.sleep.seconds)
        else:
            raise HookError("Cannot run handler: invalid handler")
        return None

    async def _run_exec_hook(self, target: HandlerTarget, command: tuple[str, ...], place: str) -> None:
        title = f"Exec lifecycle hook ({format_names(list(command))}) {place}"
        try:
            result = await self._runtime.exec_sync(target.container_id, command, 0)
        except (PodhostError, OSError) as error:
            raise HookError(f'{title} - error: {error}, message: ""') from error
        if result.exit_code:
            # What is told becomes part of the pod's status: it must not outgrow what the store takes.
            stderr = result.stderr[:_MAX_TEXT_BYTES].decode(errors="replace")
            cause = f"command '{' '.join(command)}' exited with {result.exit_code}: {stderr}"
            raise HookError(f"{title} - error: {cause}, message: {quote(_read_output(result))}")

    async def _run_http_hook(self, target: HandlerTarget, action: models.HTTPGetAction, place: str) -> str | None:
        try:
            request = build_request(action, target.container, target.pod_ip, "lifecycle")
            return await self._get_with_fallback(target, request)
        except (HttpGetError, ValueError) as error:
            raise HookError(f"HTTP lifecycle hook ({action.path}) {place} - error: {error}") from error

    async def _get_with_fallback(self, target: HandlerTarget, request: HttpRequest) -> str | None:
        """HTTPS against a server that speaks HTTP is tried again so, without credentials (as since 1.25)."""
        try:
            await self._get_any_answer(target, request)
        except HttpGetError as error:
            if request.scheme != "https" or PLAIN_ANSWER not in str(error):
                raise
            headers = tuple(header for header in request.headers if header[0] != "Authorization")
            try:
                await self._get_any_answer(target, replace(request, scheme="http", headers=headers))
            except HttpGetError:
                raise error from None
            where = join_host_port(request.host, request.port)
            return f"request to HTTPS lifecycle hook {where} got HTTP response, retry with HTTP succeeded"
        return None

    async def _get_any_answer(self, target: HandlerTarget, request: HttpRequest) -> None:
        """Neither status nor body matters to a hook."""
        try:
            await http_get(self._sockets, target.netns, request, None)
        except BodyError:
            pass


def _read_output(result: ExecResult) -> str:
    return (result.stdout + result.stderr)[:_MAX_TEXT_BYTES].decode(errors="replace")


def _format_pod(pod: models.Pod) -> str:
    return f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"
