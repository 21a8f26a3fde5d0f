"""What ``up`` would change: each object of a manifest against what the server has, by a dry run."""

from __future__ import annotations

import argparse
import copy
import difflib
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from podhost.cli.apply import locate, send_changes
from podhost.cli.apply_patch import LAST_APPLIED
from podhost.cli.kinds import Resource, Resources
from podhost.cli.manifests import Manifest, explain_status
from podhost.cli.session import connect, namespace_of
from podhost.cli.terminal import has_colour, paint, say
from podhost.client import ApiClient, ApiStatusError

if TYPE_CHECKING:
    from podhost.manifests.report import TextReport

_SERVERS_OWN = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")


def print_differences(args: argparse.Namespace, texts: Sequence[tuple[str, TextReport]]) -> bool:
    """Unified diffs of what is there and what would be; is there any?

    Raises:
        FaultyManifestError: The server would refuse a manifest.
        UnavailableError: No server answers.
    """
    manifests = [
        Manifest(
            document=found.document,
            source=f"{name}:{found.line}",
            file=name,
            lines=report.lines,
            node=found.node,
            first_line=found.first_line,
        )
        for name, report in texts
        for found in report.objects
    ]
    client = connect(args)
    differs = False
    for manifest, resource, namespace in locate(manifests, Resources(client), namespace_of(args, client)):
        try:
            differs |= _print_one(client, manifest, resource, namespace)
        except ApiStatusError as error:
            raise explain_status(manifest, error.status) or error from error
    return differs


def _print_one(client: ApiClient, manifest: Manifest, resource: Resource, namespace: str) -> bool:
    label = f"{manifest.kind.lower()}/{manifest.name}"
    live = _find(client, resource, namespace, manifest.name)
    if live is None:
        say(f"{label} is not there; it would be created", mark="+", colour="green")
        return True
    after = _dry_run(client, manifest, resource, namespace, live)
    lines = list(
        difflib.unified_diff(
            _to_lines(live), _to_lines(after), f"{label} (running)", f"{label} ({manifest.file})", lineterm=""
        )
    )
    colour = has_colour(sys.stdout)
    hues = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        hue = hues.get(line[:1])
        print(paint(line, hue, enabled=colour) if hue else line)
    if not lines:
        say(f"{label} is as in {manifest.file}", mark="=", colour="grey")
    return bool(lines)


def _find(client: ApiClient, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
    if not name:
        return None
    try:
        found: dict[str, Any] = client.get(resource.path(namespace, name))
        return found
    except ApiStatusError as error:
        if error.code != 404:
            raise
        return None


def _dry_run(
    client: ApiClient, manifest: Manifest, resource: Resource, namespace: str, live: dict[str, Any]
) -> dict[str, Any]:
    document = copy.deepcopy(manifest.document)
    if resource.namespaced:
        document.setdefault("metadata", {})["namespace"] = namespace
    return send_changes(
        client, resource.path(namespace, manifest.name), document, live, dryRun="All", fieldValidation="Strict"
    )


def _to_lines(obj: dict[str, Any]) -> list[str]:
    """As YAML would show it, without what the server keeps for itself."""
    import yaml

    shown = json.loads(json.dumps(obj))
    shown.pop("status", None)
    metadata = shown.get("metadata") or {}
    for key in _SERVERS_OWN:
        metadata.pop(key, None)
    annotations = metadata.get("annotations") or {}
    annotations.pop(LAST_APPLIED, None)
    if not annotations:
        metadata.pop("annotations", None)
    text: str = yaml.safe_dump(shown, sort_keys=True, allow_unicode=True, default_flow_style=False)
    return text.splitlines()
