"""Handlers of everything that describes the server: version, discovery, OpenAPI."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable

from aiohttp import web

from podhost.api import errors
from podhost.api.kind import Kind
from podhost.api.kinds import KINDS
from podhost.apiserver import answers, discovery
from podhost.apiserver.call import Call
from podhost.apiserver.settings import ApiServerSettings
from podhost.apiserver.static_documents import StaticDocument, build_static_document

_OPENAPI_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_OPENAPI_V2_ANSWER = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""Not the type asked for: an ``@`` is no part of a media type, and Go's parser refuses it."""


class MetaHandlers:
    """All answers are the same for the life of the server."""

    def __init__(self, settings: ApiServerSettings, kinds: tuple[Kind, ...] = KINDS) -> None:
        self._settings = settings
        self._kinds = kinds
        self._documents: dict[str, StaticDocument] = {}
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        major, minor = settings.version.removeprefix("v").split(".")[:2]
        self._version = {
            "major": major,
            "minor": minor,
            "gitVersion": settings.version,
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": f"python{platform.python_version()}",
            "compiler": platform.python_implementation(),
            "platform": f"linux/{machine}",
        }

    async def version(self, call: Call) -> web.StreamResponse:
        return answers.answer_json(self._version)

    async def root(self, call: Call) -> web.StreamResponse:
        paths = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz"]
        groups = [kind.group_version for kind in self._kinds if kind.group]
        return answers.answer_json({"paths": sorted({*paths, *(f"/apis/{each}" for each in groups), "/version"})})

    async def api(self, call: Call) -> web.StreamResponse:
        if _wants_aggregated(call.accept):
            return self._aggregated(core=True)
        return answers.answer_json(discovery.build_legacy_versions(self._settings.server_addresses))

    async def apis(self, call: Call) -> web.StreamResponse:
        if _wants_aggregated(call.accept):
            return self._aggregated(core=False)
        return answers.answer_json(discovery.build_group_list(self._kinds))

    async def core_resources(self, call: Call) -> web.StreamResponse:
        return answers.answer_json(discovery.build_resource_list("", "v1", self._kinds))

    async def group(self, call: Call) -> web.StreamResponse:
        versions = discovery.group_versions(self._kinds).get(call.params["group"])
        if versions is None or not call.params["group"]:
            raise errors.path_not_found()
        return answers.answer_json(discovery.build_group(call.params["group"], versions))

    async def group_resources(self, call: Call) -> web.StreamResponse:
        group, version = call.params["group"], call.params["version"]
        if version not in discovery.group_versions(self._kinds).get(group, ()):
            raise errors.path_not_found()
        return answers.answer_json(discovery.build_resource_list(group, version, self._kinds))

    async def no_custom_resources(self, call: Call) -> web.StreamResponse:
        """kubectl looks here for a kind that it cannot find; there are no such kinds, and discovery does not say so."""
        kind = {"kind": "CustomResourceDefinitionList", "apiVersion": "apiextensions.k8s.io/v1"}
        return answers.answer_json({**kind, "metadata": {"resourceVersion": "1"}, "items": []})

    # What OpenAPI needs is loaded with the first question for it: 2 MiB, and few clients ask.

    async def openapi_v2(self, call: Call) -> web.StreamResponse:
        from podhost.apiserver import openapi

        if _OPENAPI_V2_PROTOBUF in call.accept and "application/json" not in call.accept:
            document = await self._document("v2.pb", openapi.v2_protobuf, _OPENAPI_V2_ANSWER)
        else:
            document = await self._document("v2", openapi.v2_json)
        return document.answer(call)

    async def openapi_v3(self, call: Call) -> web.StreamResponse:
        from podhost.apiserver import openapi

        parts = {path: await self._v3(path) for path in openapi.document_paths()}
        hashes = {path: part.etag.strip('"') for path, part in parts.items()}
        return (await self._document("v3", lambda: openapi.build_paths_document(hashes))).answer(call)

    async def openapi_v3_group(self, call: Call) -> web.StreamResponse:
        from podhost.apiserver import openapi

        path = f"apis/{call.params['group']}/{call.params['version']}" if "group" in call.params else "api/v1"
        if path not in openapi.document_paths():
            raise errors.path_not_found()
        return (await self._v3(path)).answer(call)

    async def _v3(self, path: str) -> StaticDocument:
        from podhost.apiserver import openapi

        return await self._document(f"v3/{path}", lambda: openapi.group_document(path) or b"")

    async def _document(
        self, name: str, build: Callable[[], bytes], content_type: str = "application/json"
    ) -> StaticDocument:
        """Built at the first request, in a thread: it takes a while."""
        found = self._documents.get(name)
        if found is None:
            found = await asyncio.to_thread(lambda: build_static_document(build(), content_type))
            self._documents[name] = found
        return found

    def _aggregated(self, *, core: bool) -> web.Response:
        document = discovery.build_aggregated(self._kinds, core=core)
        return answers.answer_json(document, content_type=discovery.AGGREGATED)


def _wants_aggregated(accept: str) -> bool:
    return "as=APIGroupDiscoveryList" in accept and "v=v2;" in accept.replace(" ", "") + ";"
