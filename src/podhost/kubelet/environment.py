"""Environment variables of a container.  Pure: objects in, pairs out.

Order and precedence are the kubelet's (pkg/kubelet/kubelet_pods.go, makeEnvironmentVariables): services first,
then ``envFrom`` in its order, then ``env`` in its order, each overriding what came before.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from podhost.api import models
from podhost.api.quantity import parse_quantity
from podhost.errors import InvalidError
from podhost.kubelet.env_file import EnvFiles, find_value
from podhost.kubelet.expansion import expand
from podhost.kubelet.go_format import quote
from podhost.kubelet.pod_actions import AnyContainer

ReadObject = Callable[[str, str, str], Mapping[str, Any] | None]
"""(kind, namespace, name) -> JSON document of a ConfigMap or Secret, or ``None``."""


class ConfigError(InvalidError):
    """The container cannot be configured: ``CreateContainerConfigError``, with the kubelet's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentContext:
    """Facts that ``valueFrom`` can name."""

    read: ReadObject
    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    node_name: str = ""
    services: tuple[Mapping[str, Any], ...] = ()
    """Services of the pod's namespace and ``default/kubernetes``."""
    env_files: EnvFiles = field(default_factory=dict)
    cpu_millis: int = 0
    memory_bytes: int = 0


def build_environment(
    pod: models.Pod, container: AnyContainer, context: EnvironmentContext
) -> tuple[tuple[str, str], ...]:
    """Variables in their order, references expanded.

    Raises:
        ConfigError: A ConfigMap, Secret or key is missing and not optional.
    """
    services = build_service_variables(pod, context.services)
    result: dict[str, str] = {}
    for source in container.env_from:
        result.update(_read_env_from(pod, source, context))
    resolved: dict[str, str] = {**services, **result}
    for var in container.env:
        value = _resolve(pod, container, var, resolved, context)
        if value is not None:
            resolved[var.name] = result[var.name] = value
    # The pod's own variables win over those of services (kubernetes: "don't override").
    merged = {**{k: v for k, v in services.items() if k not in result}, **result}
    return tuple(merged.items())


def _resolve(
    pod: models.Pod,
    container: AnyContainer,
    var: models.EnvVar,
    known: Mapping[str, str],
    context: EnvironmentContext,
) -> str | None:
    source = var.value_from
    if source is None:
        return expand(var.value or "", known)
    if source.field_ref is not None:
        return resolve_field(pod, source.field_ref.field_path, context)
    if source.resource_field_ref is not None:
        return resolve_resource(pod, container, source.resource_field_ref, context)
    if source.config_map_key_ref is not None:
        return _read_key(pod, "ConfigMap", source.config_map_key_ref, context)
    if source.secret_key_ref is not None:
        return _read_key(pod, "Secret", source.secret_key_ref, context)
    if source.file_key_ref is not None:
        return _read_file_key(source.file_key_ref, context)
    raise ConfigError(f"environment variable {quote(var.name)} has a source that is not supported")


def decode_data(kind: str, document: Mapping[str, Any], key: str) -> str | None:
    """One value of a ConfigMap (``data``) or Secret (base64 in ``data``)."""
    value = (document.get("data") or {}).get(key)
    if value is None or kind == "ConfigMap":
        return None if value is None else str(value)
    try:
        return base64.b64decode(value).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError) as error:
        raise ConfigError(f"cannot decode key {key} of a Secret: {error}") from error


def _read_key(
    pod: models.Pod,
    kind: str,
    ref: models.ConfigMapKeySelector | models.SecretKeySelector,
    context: EnvironmentContext,
) -> str | None:
    namespace, name = pod.metadata.namespace, ref.name or ""
    document = context.read(kind, namespace, name)
    if document is None:
        if ref.optional:
            return None
        raise ConfigError(f"{kind.lower()} {quote(name)} not found")
    value = decode_data(kind, document, ref.key)
    if value is None and not ref.optional:
        raise ConfigError(f"couldn't find key {ref.key} in {kind} {namespace}/{name}")
    return value


def _read_file_key(ref: models.FileKeySelector, context: EnvironmentContext) -> str | None:
    place = (ref.volume_name, ref.path)
    if place not in context.env_files:
        raise ConfigError(f"cannot find the volume {quote(ref.volume_name)} referenced by FileKeyRef")
    text = context.env_files[place]
    try:
        value = None if text is None else find_value(text, ref.key)
    except InvalidError as error:
        raise ConfigError(f"couldn't parse env file {quote(ref.path)}: {error}") from error
    if not value and not ref.optional:
        raise ConfigError(f"environment variable key {quote(ref.key)} not found in file {quote(ref.path)}")
    return value or None


def _read_env_from(
    pod: models.Pod, source: models.EnvFromSource, context: EnvironmentContext
) -> Iterable[tuple[str, str]]:
    if source.config_map_ref is not None:
        kind, name, optional = "ConfigMap", source.config_map_ref.name or "", source.config_map_ref.optional
    elif source.secret_ref is not None:
        kind, name, optional = "Secret", source.secret_ref.name or "", source.secret_ref.optional
    else:
        return
    document = context.read(kind, pod.metadata.namespace, name)
    if document is None:
        if optional:
            return
        raise ConfigError(f"{kind.lower()} {quote(name)} not found")
    for key in sorted(document.get("data") or {}):
        variable = f"{source.prefix or ''}{key}"
        # Anything but "=" and NUL can be a name since 1.30 (RelaxedEnvironmentVariableValidation).
        if "=" in variable or "\0" in variable:
            continue
        value = decode_data(kind, document, key)
        if value is not None:
            yield variable, value


def resolve_field(pod: models.Pod, path: str, context: EnvironmentContext) -> str:
    """A ``fieldRef``.  Raises ConfigError for a path that cannot be resolved."""
    base, bracket, rest = path.partition("['")
    if bracket and rest.endswith("']"):
        key = rest[:-2]
        if base == "metadata.labels":
            return pod.metadata.labels.get(key, "")
        if base == "metadata.annotations":
            return pod.metadata.annotations.get(key, "")
    values = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name or context.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name or "default",
        "status.hostIP": ",".join(context.host_ips[:1]),
        "status.hostIPs": ",".join(context.host_ips),
        "status.podIP": ",".join(context.pod_ips[:1]),
        "status.podIPs": ",".join(context.pod_ips),
    }
    if path not in values:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return values[path]


_DEFAULT_DIVISOR = Fraction(1)


def resolve_resource(
    pod: models.Pod,
    container: AnyContainer,
    ref: models.ResourceFieldSelector,
    context: EnvironmentContext,
) -> str:
    """A ``resourceFieldRef``: limits default to what the node can allocate; rounded up to the divisor."""
    target = container
    if ref.container_name and ref.container_name != container.name:
        candidates = (*pod.spec.containers, *pod.spec.init_containers)
        found = next((c for c in candidates if c.name == ref.container_name), None)
        if found is None:
            raise ConfigError(f"container {ref.container_name} not found")
        target = found
    kind, _, name = ref.resource.partition(".")
    resources = target.resources
    values = {} if resources is None else (resources.limits if kind == "limits" else resources.requests)
    if name in values:
        amount = parse_quantity(values[name])
    elif kind == "limits" and name == "cpu":
        amount = Fraction(context.cpu_millis, 1000)
    elif kind == "limits" and name == "memory":
        amount = Fraction(context.memory_bytes)
    else:
        amount = Fraction(0)
    divisor = parse_quantity(ref.divisor) if ref.divisor else _DEFAULT_DIVISOR
    return str(_ceil(amount / (divisor or _DEFAULT_DIVISOR)))


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


def build_service_variables(pod: models.Pod, services: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Docker-links variables of Services (pkg/kubelet/envvars); ``kubernetes`` is there for every pod."""
    links = pod.spec.enable_service_links is not False
    result: dict[str, str] = {}
    for service in services:
        meta, spec = service["metadata"], service.get("spec") or {}
        is_api = meta.get("namespace") == "default" and meta["name"] == "kubernetes"
        same_namespace = meta.get("namespace") == pod.metadata.namespace
        if not is_api and not (links and same_namespace):
            continue
        if spec.get("clusterIP") in (None, "", "None") or not spec.get("ports"):
            continue
        result.update(_service_variables(meta["name"], spec))
    return result


def _service_variables(name: str, spec: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    prefix = name.upper().replace("-", "_")
    address = spec["clusterIP"]
    ports = spec["ports"]
    host = f"[{address}]" if ":" in address else address
    yield f"{prefix}_SERVICE_HOST", address
    yield f"{prefix}_SERVICE_PORT", str(ports[0]["port"])
    for port in ports:
        if port.get("name"):
            yield f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}", str(port["port"])
    first = ports[0]
    yield f"{prefix}_PORT", f"{(first.get('protocol') or 'TCP').lower()}://{host}:{first['port']}"
    for port in ports:
        protocol = port.get("protocol") or "TCP"
        link = f"{prefix}_PORT_{port['port']}_{protocol}"
        yield link, f"{protocol.lower()}://{host}:{port['port']}"
        yield f"{link}_PROTO", protocol.lower()
        yield f"{link}_PORT", str(port["port"])
        yield f"{link}_ADDR", address
