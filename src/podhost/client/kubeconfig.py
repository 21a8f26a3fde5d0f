"""Where an API server is and how to prove who one is: local sockets and kubeconfig files.

PyYAML is imported only when a kubeconfig that is not JSON is read: it would cost every command 15 ms.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podhost.errors import InvalidError, NotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One API server.  Either ``socket_path`` or ``server`` is set.  Bytes are PEM."""

    socket_path: Path | None = None
    server: str = ""
    """``https://HOST:PORT`` with an optional path prefix."""
    ca_data: bytes | None = None
    client_cert: bytes | None = None
    client_key: bytes | None = None
    token: str = ""
    insecure: bool = False
    """Do not verify the server's certificate (``insecure-skip-tls-verify``)."""
    tls_server_name: str = ""
    exec_plugin: Mapping[str, Any] | None = None
    """``users[].user.exec``: a program that prints credentials; run when the first connection is made."""
    namespace: str = ""
    """Default namespace of the context; empty when it names none."""

    @property
    def description(self) -> str:
        return str(self.socket_path) if self.socket_path is not None else self.server


def kubeconfig_paths(explicit: str | None, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """``--kubeconfig``, else each file of ``KUBECONFIG``, else ``~/.kube/config``."""
    if explicit:
        return (Path(explicit),)
    names = [name for name in environ.get("KUBECONFIG", "").split(os.pathsep) if name]
    if names:
        return tuple(Path(name) for name in names)
    return (Path(environ.get("HOME", "/root")) / ".kube" / "config",)


def load_kubeconfig(paths: tuple[Path, ...]) -> dict[str, Any]:
    """Merge the files as client-go does: of two values the first file's wins; paths become absolute.

    Raises:
        NotFoundError: None of the files exists.
        InvalidError: A file is not a kubeconfig.
    """
    merged: dict[str, Any] = {}
    found = False
    for path in paths:
        try:
            text = path.read_text()
        except FileNotFoundError:
            continue
        found = True
        _merge(merged, _parse(text, path), path.absolute().parent)
    if not found:
        raise NotFoundError(f"cannot read a kubeconfig: {', '.join(map(str, paths))} does not exist")
    return merged


def resolve_endpoint(config: Mapping[str, Any], context: str | None = None) -> Endpoint:
    """Endpoint of a context, or of the current one.

    Raises:
        NotFoundError: No such context, cluster, user or file.
        InvalidError: Something in it cannot be used.
    """
    name = context or config.get("current-context") or ""
    if not name:
        raise NotFoundError("cannot choose a cluster: the kubeconfig has no current-context; name one with --context")
    chosen = _named(config, "contexts", name, "context")
    cluster = _named(config, "clusters", str(chosen.get("cluster", "")), "cluster")
    user = _named(config, "users", str(chosen["user"]), "user") if chosen.get("user") else {}
    server = str(cluster.get("server", ""))
    if not server:
        raise InvalidError(f"cannot use context '{name}': its cluster '{chosen.get('cluster')}' has no server")
    token = str(user.get("token", ""))
    if not token and user.get("tokenFile"):
        token = _read(str(user["tokenFile"])).decode().strip()
    return Endpoint(
        server=server.rstrip("/"),
        ca_data=_data_or_file(cluster, "certificate-authority"),
        client_cert=_data_or_file(user, "client-certificate"),
        client_key=_data_or_file(user, "client-key"),
        token=token,
        insecure=bool(cluster.get("insecure-skip-tls-verify", False)),
        tls_server_name=str(cluster.get("tls-server-name", "")),
        exec_plugin=user.get("exec"),
        namespace=str(chosen.get("namespace") or ""),
    )


def merge_into(config: dict[str, Any], addition: Mapping[str, Any]) -> dict[str, Any]:
    """Add or replace the clusters, users and contexts of ``addition``, and make its context the current one."""
    result = {"apiVersion": "v1", "kind": "Config", "preferences": {}, **config}
    for section in ("clusters", "users", "contexts"):
        added = list(addition.get(section) or [])
        names = {entry["name"] for entry in added}
        kept = [entry for entry in result.get(section) or [] if entry.get("name") not in names]
        result[section] = kept + added
    result["current-context"] = addition.get("current-context", result.get("current-context", ""))
    return result


def _parse(text: str, path: Path) -> dict[str, Any]:
    document: Any
    if text.lstrip().startswith("{"):
        try:
            document = json.loads(text)
        except ValueError as error:
            raise InvalidError(f"cannot read the kubeconfig {path}: {error}") from error
    else:
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            document = yaml.load(text, Loader=loader)
        except yaml.YAMLError as error:
            raise InvalidError(f"cannot read the kubeconfig {path}: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidError(f"cannot read the kubeconfig {path}: it is not a mapping")
    return document


_FILE_KEYS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


def _merge(merged: dict[str, Any], document: Mapping[str, Any], folder: Path) -> None:
    for section, inner in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
        known = {entry["name"] for entry in merged.setdefault(section, [])}
        for entry in document.get(section) or []:
            if not isinstance(entry, dict) or entry.get("name") in known:
                continue
            body = dict(entry.get(inner) or {})
            for key in _FILE_KEYS:
                if body.get(key):
                    body[key] = str(folder / str(body[key]))
            merged[section].append({"name": entry.get("name"), inner: body})
    if not merged.get("current-context") and document.get("current-context"):
        merged["current-context"] = document["current-context"]


def _named(config: Mapping[str, Any], section: str, name: str, inner: str) -> dict[str, Any]:
    entries = [entry for entry in config.get(section) or [] if isinstance(entry, dict)]
    for entry in entries:
        if entry.get("name") == name:
            return dict(entry.get(inner) or {})
    known = ", ".join(sorted(str(entry.get("name")) for entry in entries)) or "none"
    raise NotFoundError(f"cannot find the {inner} '{name}' in the kubeconfig; it has: {known}")


def _data_or_file(body: Mapping[str, Any], key: str) -> bytes | None:
    data = body.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode(str(data), validate=False)
        except (binascii.Error, ValueError) as error:
            raise InvalidError(f"cannot read {key}-data of the kubeconfig: {error}") from error
    return _read(str(body[key])) if body.get(key) else None


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise NotFoundError(f"cannot read '{name}', which the kubeconfig names: {error.strerror}") from error
