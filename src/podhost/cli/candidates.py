"""What may stand at a place of the command line, asked from server, kubeconfig and disk.  Failures give nothing."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from podhost.cli.session import OWN_API, connect, instance_paths, namespace_of
from podhost.client import ApiClient, kubeconfig_paths, load_kubeconfig, resource_path
from podhost.errors import PodhostError

Pair = tuple[str, str]

_TIMEOUT_S = 2.0
_METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
_KINDS = ("pod", "service", "configmap", "secret", "serviceaccount", "node", "namespace")
_WORKLOADS = ("deployment", "statefulset", "daemonset", "job")


def find_candidates(kind: str, given: Mapping[str, str], current: str) -> list[Pair]:
    """(word, what it is); without those that the shell itself knows (files)."""
    args = argparse.Namespace(
        instance=given.get("instance") or os.environ.get("PODHOST_INSTANCE") or "default",
        context=given.get("context"),
        kubeconfig=given.get("kubeconfig"),
        namespace=given.get("namespace"),
    )
    try:
        return list(_find(kind, args, given, current))
    except (PodhostError, OSError, KeyError, TypeError, ValueError):
        return []


def _find(kind: str, args: argparse.Namespace, given: Mapping[str, str], current: str) -> Iterator[Pair]:
    if kind == "instance":
        yield from _instances(args)
    elif kind == "context":
        config = load_kubeconfig(kubeconfig_paths(args.kubeconfig, os.environ))
        yield from ((str(entry["name"]), "") for entry in config.get("contexts") or [])
    elif kind == "command":
        from podhost.cli.main import COMMANDS

        yield from COMMANDS.items()
    else:
        with contextlib.closing(connect(args)) as client:
            yield from _ask_server(kind, client, args, given, current)


def _instances(args: argparse.Namespace) -> Iterator[Pair]:
    paths = instance_paths(args.instance)
    if paths.run_root.is_dir():
        running = (entry.name for entry in paths.run_root.iterdir() if (entry / "podhost.sock").exists())
        yield from ((name, "running") for name in sorted(running))


def _ask_server(
    kind: str, client: ApiClient, args: argparse.Namespace, given: Mapping[str, str], current: str
) -> Iterator[Pair]:
    namespace = namespace_of(args, client)
    if kind == "pod":
        yield from _names(client, resource_path("v1", "pods", namespace=namespace))
    elif kind == "pod-path":
        names = _names(client, resource_path("v1", "pods", namespace=namespace))
        yield from ((f"{name}:", "a path in this pod") for name, _ in names)
    elif kind == "namespace":
        yield from _names(client, resource_path("v1", "namespaces"))
    elif kind == "container":
        yield from _containers(client, namespace, given.get("pod", "").removeprefix("pod/"))
    elif kind == "label":
        yield from _labels(client, namespace)
    elif kind == "object":
        yield from _objects(client, namespace, current)
    elif kind == "image":
        for image in client.request("GET", f"{OWN_API}/images", timeout_s=_TIMEOUT_S).get("items") or []:
            for name in image.get("repo_tags") or ():
                yield str(name).removeprefix("docker.io/library/").removeprefix("docker.io/"), ""


def _items(client: ApiClient, path: str, *, whole: bool = False) -> list[dict[str, Any]]:
    accept = "application/json" if whole else _METADATA
    listed = client.request("GET", path, query={"limit": 500}, accept=accept, timeout_s=_TIMEOUT_S)
    return list(listed.get("items") or [])


def _names(client: ApiClient, path: str) -> Iterator[Pair]:
    yield from ((str(item["metadata"]["name"]), "") for item in _items(client, path))


def _containers(client: ApiClient, namespace: str, pod: str) -> Iterator[Pair]:
    for item in _items(client, resource_path("v1", "pods", namespace=namespace), whole=True):
        if pod in ("", item["metadata"]["name"]):
            for section in ("containers", "initContainers", "ephemeralContainers"):
                for container in item["spec"].get(section) or []:
                    yield str(container["name"]), str(container.get("image", ""))


def _labels(client: ApiClient, namespace: str) -> Iterator[Pair]:
    for item in _items(client, resource_path("v1", "pods", namespace=namespace)):
        for key, value in (item["metadata"].get("labels") or {}).items():
            yield f"{key}={value}", f"pod/{item['metadata']['name']}"


def _objects(client: ApiClient, namespace: str, current: str) -> Iterator[Pair]:
    """``service/`` until the kind stands, then the names."""
    from podhost.cli.kinds import find_resource

    word, slash, _ = current.partition("/")
    if not slash:
        yield from ((f"{kind}/", "") for kind in (*_KINDS, *_WORKLOADS))
        return
    found = find_resource(client, word)
    if found is not None:
        resource = found[0]
        where = namespace if resource.namespaced else ""
        yield from ((f"{word}/{name}", text) for name, text in _names(client, resource.path(where)))
