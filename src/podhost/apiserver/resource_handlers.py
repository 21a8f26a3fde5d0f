"""The verbs on resources: from the request to the registry, and back in the view that the client wants."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from podhost.aiokit.clock import Clock
from podhost.api import errors
from podhost.api.deletion import DeleteOptions
from podhost.apiserver import answers, bodies, identity, negotiation
from podhost.apiserver.applying import APPLY_PATCH, apply_object
from podhost.apiserver.authz import Authorizer, build_attributes, check_create_access
from podhost.apiserver.call import Call
from podhost.apiserver.delete_options import read_delete_options
from podhost.apiserver.encoded_objects import EncodedObjects
from podhost.apiserver.escalation import build_grant_check
from podhost.apiserver.listing import ListRequest, Page, paginate, read_list_request, read_version
from podhost.apiserver.negotiation import Representation, View, negotiate, negotiate_stream
from podhost.apiserver.patching import read_patch
from podhost.apiserver.registry import Admit, Change, Registry, admit_all, writable_subresource
from podhost.apiserver.selection import read_selection
from podhost.apiserver.settings import ApiServerSettings
from podhost.apiserver.watch_encoding import EventEncoder, FrameEncoder
from podhost.apiserver.watch_feeds import FeedKey, WatchFeeds
from podhost.apiserver.watching import WatchStream, read_watch_request
from podhost.apiserver.write_options import WriteOptions, read_write_options
from podhost.store import GoneError, ObjectStore, WatchEvent

Obj = dict[str, Any]

_STREAMED_ABOVE = 100
_KEPT_BELOW = 2_000


class ResourceHandlers:
    """Handlers of the generic routes, the same for every kind."""

    def __init__(
        self,
        registry: Registry,
        store: ObjectStore,
        clock: Clock,
        settings: ApiServerSettings,
        authorizer: Authorizer,
        feeds: WatchFeeds,
    ) -> None:
        self._registry = registry
        self._store = store
        self._clock = clock
        self._settings = settings
        self._authorizer = authorizer
        self._feeds = feeds
        self._encoded = EncodedObjects()

    def on_change(self, event: WatchEvent) -> None:
        """Of a stored object: what is kept of a deleted one goes."""
        if event.type == "DELETED":
            self._encoded.forget(event.object)

    async def get(self, call: Call) -> web.StreamResponse:
        version = call.text("resourceVersion")
        if version and read_version(version) > self._store.current_rv():
            raise errors.too_large_resource_version(int(version), self._store.current_rv())
        return await self._answer_object(call, self._registry.get(call.kind, call.namespace, call.name))

    async def list_or_watch(self, call: Call) -> web.StreamResponse:
        if call.flag("watch"):
            return await self._watch(call)
        shape = self._negotiate(call)
        selection = read_selection(call)
        request = read_list_request(call, self._store.current_rv())
        items, rv = self._snapshot(call, request)
        chosen = items if selection.everything else [item for item in items if selection.matches(item)]
        page = paginate(chosen, rv, request, counted=selection.everything)
        if len(page.items) > _STREAMED_ABOVE and shape == negotiation.PLAIN and not answers.wants_indentation(call):
            return self._stream_list(call, page)
        return await self._answer(call, self._shape_list(call, page, shape), shape)

    async def create(self, call: Call) -> web.StreamResponse:
        options = read_write_options(call, "CreateOptions")
        body = await bodies.read_object(call, call.kind, options.validation)
        identity.check_version_of_new(body["metadata"])
        call.noted["name"] = body["metadata"].get("name", "")
        call.warnings.extend(call.kind.warnings_as_written(body))
        return await self._create(call, body, options)

    async def update(self, call: Call) -> web.StreamResponse:
        options = read_write_options(call, "UpdateOptions")
        body = await bodies.read_object(call, call.kind, options.validation)
        identity.check_name(body["metadata"], call.name)
        identity.check_namespace(call.kind, body["metadata"], call.namespace)
        missing = not self._registry.exists(call.kind, call.namespace, call.name)
        if missing and call.kind.create_on_update and not call.route.subresource:
            identity.check_uid_of_new(call.kind, body["metadata"], call.name)
            return await self._create(call, body, options)
        return await self._change(call, lambda _: body, options)

    async def patch(self, call: Call) -> web.StreamResponse:
        if bodies.media_type(call.request) == APPLY_PATCH:
            obj, created = await apply_object(call, self._registry, self._admit(call))
            return await self._answer_written(call, obj, code=201 if created else 200)
        options = read_write_options(call, "PatchOptions")
        patch = await read_patch(call)

        def change(current: Obj) -> Obj:
            document = patch.apply(current)
            reject = functools.partial(patch.reject, document)
            patched = bodies.decode_object(call, document, call.kind, options.validation, reject=reject)
            identity.check_name(patched["metadata"], call.name)
            identity.check_namespace(call.kind, patched["metadata"], call.namespace)
            return patched

        return await self._change(call, change, options)

    async def delete(self, call: Call) -> web.StreamResponse:
        options = await read_delete_options(call)
        deleted = self._registry.delete(call.kind, call.namespace, call.name, options)
        if call.kind.returns_deleted or not deleted.gone:
            return await self._answer_object(call, deleted.object)
        return await self._answer(call, _deleted_status(call, deleted.object), negotiation.PLAIN)

    async def delete_collection(self, call: Call) -> web.StreamResponse:
        options = await read_delete_options(call)
        shape = self._negotiate(call)
        selection = read_selection(call)
        items, rv = self._store.list(call.kind.resource_key, call.namespace or None)
        deleted = []
        for item in items:
            metadata = item["metadata"]
            if selection.matches(item) and self._delete_one(call, metadata, options):
                deleted.append(item)
        return await self._answer(call, self._shape_list(call, Page(deleted, rv), shape, last=True), shape)

    async def _watch(self, call: Call) -> web.StreamResponse:
        shape = negotiate_stream(call.accept, call.text("includeObject"))
        request = read_watch_request(call)
        selection = read_selection(call)
        stream = WatchStream(
            call,
            self._store,
            self._feeds,
            request,
            FeedKey(call.kind.resource_key, call.namespace or None, selection.labels, selection.fields, shape),
            FrameEncoder(selection, EventEncoder(call.kind, shape, self._clock)),
            write_timeout_s=self._settings.watch_write_timeout_s,
        )
        return await stream.run(selection)

    async def _create(self, call: Call, body: Obj, options: WriteOptions) -> web.StreamResponse:
        obj = self._registry.create(
            call.kind,
            call.namespace,
            body,
            writer=options.writer,
            admit=self._admit(call),
            dry_run=options.dry_run,
        )
        return await self._answer_written(call, obj, code=201)

    async def _change(self, call: Call, change: Change, options: WriteOptions) -> web.StreamResponse:
        obj = self._registry.update(
            call.kind,
            call.namespace,
            call.name,
            change,
            writer=options.writer,
            admit=self._admit(call),
            subresource=writable_subresource(call.route.subresource),
            dry_run=options.dry_run,
        )
        return await self._answer_written(call, obj)

    async def _answer_written(self, call: Call, obj: Obj, *, code: int = 200) -> web.StreamResponse:
        if call.route.subresource in ("", "ephemeralcontainers"):
            self._warn(call, obj)
        return await self._answer_object(call, obj, code=code)

    def _warn(self, call: Call, obj: Obj) -> None:
        call.warnings.extend(call.kind.warnings(obj))
        call.warnings.extend(call.kind.host_warnings(obj, self._settings.missing_modules))

    def _admit(self, call: Call) -> Admit:
        """What a write has to pass; one that makes an object although it is no create needs that right as well."""
        check_grant = build_grant_check(self._authorizer, call.user, call.kind) or admit_all
        if call.route.verb == "create":
            return check_grant

        def admit(new: Obj, old: Obj | None) -> None:
            if old is None:
                check_create_access(self._authorizer, call.user, build_attributes(call))
            check_grant(new, old)

        return admit

    def _delete_one(self, call: Call, metadata: Obj, options: DeleteOptions) -> bool:
        try:
            self._registry.delete(call.kind, metadata.get("namespace", ""), metadata["name"], options)
        except errors.ApiError as error:
            if error.code != 404:
                raise
            return False
        return True

    def _snapshot(self, call: Call, request: ListRequest) -> tuple[list[Obj], int]:
        resource, namespace = call.kind.resource_key, call.namespace or None
        if request.at_rv is None or request.at_rv == self._store.current_rv():
            return self._store.list(resource, namespace)
        try:
            return self._store.list_at(resource, namespace, request.at_rv), request.at_rv
        except GoneError as error:
            raise request.expired() from error

    def _stream_list(self, call: Call, page: Page) -> web.StreamResponse:
        """One that is longer than what is kept of encoded objects would only drive out those that are."""
        is_kept = len(page.items) <= _KEPT_BELOW and not call.kind.beats
        encode = self._encoded.encode if is_kept else msgspec.json.encode
        response = answers.StreamedList(
            negotiation.build_list(call.kind, [], page.metadata),
            map(encode, page.items),
            compressed=answers.wants_gzip(call.request),
        )
        answers.add_warnings(response, call.warnings)
        return response

    def _negotiate(self, call: Call) -> Representation:
        return negotiate(call.accept, call.text("includeObject"))

    def _shape_list(self, call: Call, page: Page, shape: Representation, *, last: bool = False) -> Obj:
        """``last``: nobody will read them again."""
        items: Sequence[Any] = page.items
        if shape.view is View.OBJECT and not (shape.yaml or last or call.kind.beats):
            items = self._encoded.encode_all(page.items)
        return negotiation.shape_list(call.kind, items, page.metadata, shape, self._clock.now())

    async def _answer_object(self, call: Call, obj: Obj, *, code: int = 200) -> web.StreamResponse:
        shape = self._negotiate(call)
        document = negotiation.shape_object(call.kind, obj, shape, self._clock.now())
        return await self._answer(call, document, shape, code=code)

    async def _answer(self, call: Call, document: Obj, shape: Representation, *, code: int = 200) -> web.StreamResponse:
        limit = self._settings.gzip_above_bytes
        return await answers.answer(call, document, code=code, as_yaml=shape.yaml, gzip_above_bytes=limit)


def _deleted_status(call: Call, obj: Obj) -> Obj:
    details = {
        "name": call.name,
        "group": call.kind.group,
        "kind": call.kind.plural,
        "uid": obj["metadata"]["uid"],
    }
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }
