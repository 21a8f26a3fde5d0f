"""Puts the parts together: one aiohttp application for all of the daemon's listeners."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import chain

from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_exceptions import HttpProcessingError

from podhost.aiokit.clock import Clock
from podhost.api import errors
from podhost.api.errors import ApiError
from podhost.api.heartbeats import with_heartbeats, with_renew_time
from podhost.api.kind import Kind, StoredForm
from podhost.api.kinds import KINDS, LEASE, NODE
from podhost.api.objects import Object
from podhost.api.pod_channels import POD_CHANNELS
from podhost.api.review_kinds import UNSTORED_KINDS
from podhost.api.usage_kinds import USAGE_KINDS
from podhost.apiserver import routes
from podhost.apiserver.account_tokens import AccountTokens
from podhost.apiserver.answers import add_warnings, answer_error, to_api_error
from podhost.apiserver.applying import APPLY_PATCH
from podhost.apiserver.audit import Auditor
from podhost.apiserver.authn import ANONYMOUS, Authenticator, User
from podhost.apiserver.authz import Authorizer, check_access
from podhost.apiserver.bodies import media_type
from podhost.apiserver.call import Call, is_long_running, reads_from_client
from podhost.apiserver.channel_handlers import ChannelHandlers
from podhost.apiserver.connections import BoundedRunner
from podhost.apiserver.health import HealthHandlers
from podhost.apiserver.impersonation import impersonate
from podhost.apiserver.issuer_handlers import IssuerHandlers
from podhost.apiserver.limits import Admission
from podhost.apiserver.meta_handlers import MetaHandlers
from podhost.apiserver.metrics import Metrics, compute_verb
from podhost.apiserver.node_proxy import NodeProxyHandlers
from podhost.apiserver.own_api import OwnApiHandlers
from podhost.apiserver.pod_handlers import PodHandlers
from podhost.apiserver.proxy_handlers import ProxyHandlers
from podhost.apiserver.registry import Registry
from podhost.apiserver.resource_handlers import ResourceHandlers
from podhost.apiserver.review_handlers import ReviewHandlers
from podhost.apiserver.routing import Route, Router
from podhost.apiserver.service_allocation import ServiceAllocator
from podhost.apiserver.settings import ApiServerSettings, DaemonHooks
from podhost.apiserver.upgrade import UpgradedResponse, stall_limit_s
from podhost.apiserver.usage_handlers import UsageHandlers
from podhost.apiserver.watch_feeds import WatchFeeds
from podhost.cri.channels import PodChannelsApi
from podhost.cri.images import ImageService
from podhost.cri.node import NodeApi
from podhost.cri.stats import UsageApi
from podhost.linux.hangup import HangupWatch
from podhost.store import Store, ViewedStore

_MAX_HEADER_BYTES = 1 << 20
"""A command given to exec travels in the URL; Kubernetes' limit is the same."""
_SHUTDOWN_TIMEOUT_S = 2.0
_FREE_BYTES = 32 << 10
"""Less than what a transport takes without waiting."""
_HANGUP_GRACE_S = 5.0


class _NonsenseInOneLine(logging.Filter):
    """What is no HTTP is its sender's fault: no traceback of ours in the log, and none of his bytes."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.exc_info = None
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.msg, record.args = "a client sent what is no HTTP (%s)", (type(error).__name__,)
        return True


_http_log = logging.getLogger("podhost.apiserver.http")
_http_log.addFilter(_NonsenseInOneLine())


@contextlib.contextmanager
def _ended_by_hangup(transport: asyncio.Transport | None) -> Iterator[None]:
    """A client that has gone ends its stream, also while nothing is read from it because of backpressure.

    What it sent before may still be on its way for a moment.
    """
    sock = transport.get_extra_info("socket") if transport is not None else None
    if transport is None or sock is None:
        yield
        return
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    # asyncio lends out a look-alike of the socket, whose descriptor is the real one.
    watch = HangupWatch(sock, lambda: timers.append(loop.call_later(_HANGUP_GRACE_S, transport.abort)))
    try:
        yield
    finally:
        watch.close()
        for timer in timers:
            timer.cancel()


def build_views(node_name: str, clock: Clock) -> dict[str, StoredForm]:
    """Second versions of stored kinds, and kinds with times that are computed when they are read."""

    def shown_as(kind: Kind, complete: Callable[[Object, str, datetime], Object]) -> StoredForm:
        return StoredForm(kind.resource, lambda obj: complete(obj, node_name, clock.now()), lambda obj: obj)

    views = {kind.resource_key: kind.stored_form for kind in KINDS if kind.stored_form}
    views[LEASE.resource_key] = shown_as(LEASE, with_renew_time)
    views[NODE.resource_key] = shown_as(NODE, with_heartbeats)
    return views


class ApiServer:
    """The Kubernetes API of one instance."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        node: NodeApi,
        images: ImageService,
        settings: ApiServerSettings,
        hooks: DaemonHooks,
        channels: PodChannelsApi | None = None,
        usage: UsageApi | None = None,
    ) -> None:
        self._settings = settings
        self._streams: set[asyncio.Task[object]] = set()
        self._shutting_down = False
        self._metrics = Metrics(store)
        self._admission = Admission(settings.limits)
        self._auditor = None if settings.audit is None else Auditor(settings.audit, clock, settings.audit_policy)
        health = HealthHandlers(lambda: store.is_writable, lambda: self._shutting_down)
        self.services = ServiceAllocator(
            store,
            service_cidr=settings.service_cidr,
            node_port_range=settings.node_port_range,
            reserved_ips=settings.reserved_cluster_ips,
        )
        objects = ViewedStore(store, build_views(settings.node_name, clock))
        self.registry = Registry(objects, clock, self.services)
        self._authorizer = Authorizer(store)
        tokens = None if settings.account_key is None else AccountTokens(store, clock, settings.account_key)
        self._authenticator = Authenticator(
            (settings.token_users.get, *(() if tokens is None else (tokens.verify_user,)))
        )
        reviews = ReviewHandlers(store, self._authenticator, self._authorizer, tokens)
        self._feeds = WatchFeeds(objects)
        resources = ResourceHandlers(self.registry, objects, clock, settings, self._authorizer, self._feeds)
        for kind in KINDS:
            store.subscribe(kind.resource_key, resources.on_change)
        pods = PodHandlers(self.registry, node, clock)
        self._proxy = ProxyHandlers(self.registry)
        observed = (*(() if channels is None else (POD_CHANNELS,)), *(() if usage is None else USAGE_KINDS))
        kinds = (*KINDS, *UNSTORED_KINDS, *observed)
        self._router = Router(
            chain(
                routes.build_meta_routes(MetaHandlers(settings, kinds)),
                health.build_routes(),
                [Route(method="GET", pattern="/metrics", verb="get", handler=self._metrics.answer)],
                routes.build_own_routes(OwnApiHandlers(images, settings, hooks)),
                routes.build_resource_routes(KINDS, resources, pods),
                routes.build_binding_routes(pods),
                routes.build_review_routes(reviews),
                () if tokens is None else routes.build_issuer_routes(IssuerHandlers(tokens, settings)),
                routes.build_proxy_routes(self._proxy, NodeProxyHandlers(self.registry, self._proxy, node.http)),
                () if channels is None else routes.build_channel_routes(ChannelHandlers(channels, store, clock)),
                () if usage is None else routes.build_usage_routes(UsageHandlers(usage, store, clock)),
            )
        )

    def build_app(self) -> web.Application:
        """The application.  Serve it with :meth:`build_runner`, whose options it relies on."""
        app = web.Application(client_max_size=self._settings.max_body_bytes)
        app.on_shutdown.append(self._end_streams)
        app.on_response_prepare.append(_hide_software)
        if self._auditor is not None:
            app.on_response_prepare.append(self._auditor.on_answer)
        app.on_cleanup.append(self._close_parts)
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        return app

    def build_runner(self) -> web.AppRunner:
        """A runner, to be set up and bound by the daemon: no access log; headers, connections and silence bounded.

        ``handler_cancellation`` matters: a watch, log or exec ends when its client has gone.
        """
        return BoundedRunner(
            self.build_app(),
            self._settings.limits,
            access_log=None,
            logger=_http_log,
            handle_signals=False,
            handler_cancellation=True,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
            # As kube-apiserver, which takes bodies as they are: half a megabyte can be 500 MB unpacked.
            auto_decompress=False,
        )

    async def _handle(self, call: Call) -> web.StreamResponse:
        if not is_long_running(call):
            return await call.route.handler(call)
        with self._metrics.long_running(call.route, _verb(call.request, call.route)):
            return await self._run_stream(call)

    async def _send(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send the answer while the request still counts.  Raises ConnectionError when it is not read in time."""
        transport = request.transport
        body = response.body if isinstance(response, web.Response) else None
        if isinstance(body, bytes) and len(body) < _FREE_BYTES and transport and not transport.get_write_buffer_size():
            # The connection takes it without waiting: no timer.
            await response.prepare(request)
            await response.write_eof()
            return
        try:
            async with asyncio.timeout(self._settings.limits.answer_s):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if transport is not None:
                transport.abort()
            raise ConnectionAbortedError("the client does not read its answer") from None

    async def _run_stream(self, call: Call) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        stall_limit_s.set(self._settings.limits.stall_s)
        try:
            if not reads_from_client(call):
                return await call.route.handler(call)
            with _ended_by_hangup(call.request.transport):
                return await call.route.handler(call)
        finally:
            self._streams.discard(task)

    async def _end_streams(self, _: web.Application) -> None:
        """Watches, logs and execs have no end of their own; the daemon's must not wait for theirs."""
        self._shutting_down = True
        for task in tuple(self._streams):
            task.cancel()

    def _resolve(self, request: web.Request, user: User) -> tuple[Route, dict[str, str]]:
        """The route; strangers do not learn which there are."""
        try:
            return self._router.resolve(request.method, request.rel_url.raw_path)
        except ApiError as error:
            raise (errors.unauthorized() if user == ANONYMOUS else error) from None

    async def _close_parts(self, _: web.Application) -> None:
        await self._feeds.close()
        await self._proxy.close()

    def _audit_end(
        self,
        request: web.Request,
        response: web.StreamResponse | None,
        failure: ApiError | None,
        user: User | None,
    ) -> None:
        if self._auditor is not None:
            self._auditor.end(request, response, failure, user)

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        """Authenticate, find the route, authorise, handle.  Whatever goes wrong becomes a Status."""
        warnings: list[str] = []
        route: Route | None = None
        failure: ApiError | None = None
        user: User | None = None
        begin = time.perf_counter()
        try:
            user = self._authenticator.authenticate(request)
            route, params = self._resolve(request, user)
            acting = impersonate(request.headers, user, self._authorizer)
            limits = self._settings.limits
            call = Call(request, route, params, acting, warnings, limits.body_s, limits.min_watch_s)
            if self._auditor is not None:
                self._auditor.begin(call, user)
            check_access(self._authorizer, call)
            with self._admission.admitted(call):
                response = await self._handle(call)
                await self._send(request, response)
        except ConnectionError:
            # The client has gone, or must see that its answer was broken off: the HTTP server would log an error
            # and answer 500 into the middle of it.
            response = UpgradedResponse()
        except Exception as error:
            failure = to_api_error(error)
            response = answer_error(failure)
            add_warnings(response, warnings)
        except asyncio.CancelledError:
            self._audit_end(request, None, None, user)
            raise
        self._audit_end(request, response, failure, user)
        self._metrics.on_request(route, _verb(request, route), response.status, time.perf_counter() - begin)
        return response


async def _hide_software(_: web.Request, response: web.StreamResponse) -> None:
    """aiohttp's name and version are nobody's business; what a pod says of itself through the proxy stays."""
    if response.headers.get(hdrs.SERVER) is SERVER_SOFTWARE:
        del response.headers[hdrs.SERVER]


def _verb(request: web.Request, route: Route | None) -> str:
    watching = route is not None and route.verb == "list" and request.query.get("watch", "") in ("1", "true")
    applying = request.method == "PATCH" and media_type(request) == APPLY_PATCH
    return compute_verb(request.method, route, watching=watching, applying=applying)
