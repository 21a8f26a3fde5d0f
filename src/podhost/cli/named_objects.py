"""Objects that a person names: ``POD``, ``pod/NAME``, ``KIND/NAME``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from podhost.cli.failure import HintedError
from podhost.cli.kinds import Resource, core_resource, find_resource
from podhost.client import ApiClient, ApiStatusError


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An object as the server has it."""

    resource: Resource
    kind: str
    namespace: str
    name: str
    object: dict[str, Any]

    @property
    def label(self) -> str:
        return f"{self.kind.lower()}/{self.name}"

    @property
    def path(self) -> str:
        return self.resource.path(self.namespace, self.name)


def fetch_named(client: ApiClient, word: str, namespace: str) -> Named:
    """Raises HintedError for a kind that the server does not have and for what is not there."""
    kind_word, slash, name = word.partition("/")
    found = find_resource(client, kind_word) if slash else None
    if not slash:
        name, pods = word, core_resource("pods")
        found = (pods, "Pod") if pods is not None else None
    if found is None or not name:
        raise HintedError(
            f"cannot find '{word}': the server has no kind '{kind_word}'",
            "say POD, or KIND/NAME such as service/web",
        )
    resource, kind = found
    where = namespace if resource.namespaced else ""
    try:
        document = client.get(resource.path(where, name))
    except ApiStatusError as error:
        if error.code != 404:
            raise
        place = f" in the namespace '{where}'" if where else ""
        hint = "see all: podhost ps -A" if kind == "Pod" else f"see all: kubectl get {resource.plural} -A"
        raise HintedError(f"cannot find the {kind.lower()} '{name}'{place}", hint) from error
    return Named(resource=resource, kind=kind, namespace=where, name=name, object=document)
