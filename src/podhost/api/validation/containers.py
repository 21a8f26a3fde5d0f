"""Containers of a pod."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.objects import Object
from podhost.api.validation.downward import ENV_FIELD_PATHS, validate_field_ref, validate_resource_field_ref
from podhost.api.validation.metadata import invalid_all, one_of
from podhost.api.validation.paths import validate_descending_path, validate_no_backsteps, validate_target_path
from podhost.api.validation.probes import validate_lifecycle
from podhost.api.validation.resources import validate_resources
from podhost.api.validation.security import validate_container_security
from podhost.api.validation.volumes import Volumes

PROTOCOLS = frozenset({"TCP", "UDP", "SCTP"})
_PULL_POLICIES = frozenset({"Always", "IfNotPresent", "Never"})
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_PROPAGATIONS = frozenset({"Bidirectional", "HostToContainer", "None"})
_MOUNT_OPTIONS = frozenset({"noexec", "nodev", "nosuid"})
_RECURSIVE_READ_ONLY = frozenset({"Disabled", "Enabled", "IfPossible"})
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_RESTART_ACTIONS = ("Restart", "RestartAllContainers")
_EXIT_CODE_OPERATORS = ("In", "NotIn")
_MAX_RESTART_RULES = 20
_MAX_EXIT_CODES = 255
_MAX_FILE_KEY = 128
_RESIZE_RESOURCES = frozenset({"cpu", "memory"})
_RESIZE_POLICIES = frozenset({"NotRequired", "RestartContainer"})
_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_NOT_FOR_EPHEMERAL = (
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
)


@dataclass(frozen=True, slots=True)
class PodContext:
    """What the rules for a container need to know of its pod."""

    volumes: Volumes
    claim_names: frozenset[str]
    grace_s: int | None
    restart_policy: str
    host_users: bool


def validate_containers(containers: list[Object], context: PodContext, path: Path) -> list[FieldError]:
    if not containers:
        return [path.required()]
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, container in enumerate(containers):
        at = path.index(index)
        errors += _validate_container(container, context, at)
        name = container.get("name") or ""
        if name in seen:
            errors.append(at.child("name").duplicate(name))
        seen.add(name)
        errors += validate_lifecycle(container, context.grace_s, at)
        errors += _validate_restart(container, at)
    return errors + _validate_host_ports(containers, path)


def _validate_restart(container: Object, path: Path) -> list[FieldError]:
    """A container may have its own policy since 1.34, and rules that come before it."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or []
    errors: list[FieldError] = []
    if policy is not None and policy not in _RESTART_POLICIES:
        errors.append(path.child("restartPolicy").not_supported(policy, _RESTART_POLICIES))
    if rules and policy is None:
        errors.append(path.child("restartPolicy").required("must specify restartPolicy when restart rules are used"))
    at = path.child("restartPolicyRules")
    if len(rules) > _MAX_RESTART_RULES:
        errors.append(at.too_many(len(rules), _MAX_RESTART_RULES))
    for index, rule in enumerate(rules):
        action = rule.get("action") or ""
        if action not in _RESTART_ACTIONS:
            errors.append(at.index(index).child("action").not_supported(action, _RESTART_ACTIONS))
        errors += _validate_exit_codes(rule.get("exitCodes"), at.index(index).child("exitCodes"))
    return errors


def _validate_exit_codes(codes: Object | None, path: Path) -> list[FieldError]:
    if codes is None:
        return [path.required("must be specified")]
    operator = codes.get("operator") or ""
    supported = operator in _EXIT_CODE_OPERATORS
    errors = [] if supported else [path.child("operator").not_supported(operator, _EXIT_CODE_OPERATORS)]
    values = codes.get("values") or []
    if len(values) > _MAX_EXIT_CODES:
        errors.append(path.child("values").too_many(len(values), _MAX_EXIT_CODES))
    return errors


def validate_init_containers(
    containers: list[Object], regular: list[Object], context: PodContext, path: Path
) -> list[FieldError]:
    errors: list[FieldError] = []
    seen = {container.get("name") or "" for container in regular}
    for index, container in enumerate(containers):
        at = path.index(index)
        errors += _validate_container(container, context, at)
        policy = container.get("restartPolicy")
        errors += _validate_restart(container, at)
        name = container.get("name") or ""
        if name in seen:
            errors.append(at.child("name").duplicate(name))
        elif name:
            seen.add(name)
        errors += _validate_host_ports([container], path)
        if policy == "Always":
            errors += validate_lifecycle(container, context.grace_s, at)
        else:
            errors += _forbid(container, ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"), at)
    return errors


def _forbid(container: Mapping[str, Any], fields: Iterable[str], path: Path) -> list[FieldError]:
    detail = "may not be set for init containers without restartPolicy=Always"
    return [path.child(name).forbidden(detail) for name in fields if container.get(name) is not None]


def validate_ephemeral_containers(
    containers: list[Object], others: list[Object], context: PodContext, path: Path
) -> list[FieldError]:
    errors: list[FieldError] = []
    other_names = {container.get("name") or "" for container in others}
    seen = set(other_names)
    detail = "cannot be set for an Ephemeral Container"
    for index, container in enumerate(containers):
        at = path.index(index)
        errors += _validate_container(container, context, at)
        name = container.get("name") or ""
        if name in seen:
            errors.append(at.child("name").duplicate(name))
        seen.add(name)
        target = container.get("targetContainerName")
        if target and target not in other_names:
            errors.append(at.child("targetContainerName").not_found(target))
        errors += [at.child(field).forbidden(detail) for field in _NOT_FOR_EPHEMERAL if container.get(field)]
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            where = at.child("volumeMounts").index(number)
            errors += [where.child(part).forbidden(detail) for part in ("subPath", "subPathExpr") if mount.get(part)]
    return errors


def _validate_container(container: Object, context: PodContext, path: Path) -> list[FieldError]:
    """Rules common to all containers."""
    errors: list[FieldError] = []
    name = container.get("name") or ""
    if not name:
        errors.append(path.child("name").required())
    elif messages := names.check_dns_label(name):
        errors += invalid_all(path.child("name"), name, messages)
    errors += _validate_image(container.get("image") or "", path.child("image"))
    policy = container.get("terminationMessagePolicy")
    errors += one_of(path.child("terminationMessagePolicy"), policy, _MESSAGE_POLICIES)
    if ports := container.get("ports"):
        errors += _validate_ports(ports, path.child("ports"))
    if env := container.get("env"):
        errors += _validate_env(env, context.volumes, path.child("env"))
    if env_from := container.get("envFrom"):
        errors += _validate_env_from(env_from, path.child("envFrom"))
    if container.get("volumeMounts") or container.get("volumeDevices"):
        errors += _validate_mounts(container, context.volumes, path)
    errors += one_of(path.child("imagePullPolicy"), container.get("imagePullPolicy"), _PULL_POLICIES)
    if resources := container.get("resources"):
        errors += validate_resources(resources, path.child("resources"), context.claim_names)
    errors += _validate_resize(container, context.restart_policy, path.child("resizePolicy"))
    security, at = container.get("securityContext"), path.child("securityContext")
    return errors + validate_container_security(security, at, host_users=context.host_users)


def _validate_image(image: str, path: Path) -> list[FieldError]:
    if not image:
        return [path.required()]
    if image != image.strip():
        return [path.invalid(image, "must not have leading or trailing whitespace")]
    return []


def _validate_ports(ports: list[Object], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        at = path.index(index)
        name = port.get("name") or ""
        if name:
            if messages := names.check_port_name(name):
                errors += invalid_all(at.child("name"), name, messages)
            elif name in seen:
                errors.append(at.child("name").duplicate(name))
            seen.add(name)
        number = port.get("containerPort") or 0
        if not number:
            errors.append(at.child("containerPort").required())
        else:
            errors += invalid_all(at.child("containerPort"), number, names.check_port_number(number))
        if host_port := port.get("hostPort"):
            errors += invalid_all(at.child("hostPort"), host_port, names.check_port_number(host_port))
        errors += one_of(at.child("protocol"), port.get("protocol"), PROTOCOLS)
    return errors


def _validate_host_ports(containers: list[Object], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, container in enumerate(containers):
        for number, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            key = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if key in seen:
                errors.append(path.index(index).child("ports").index(number).child("hostPort").duplicate(key))
            seen.add(key)
    return errors


def _validate_env(env: list[Object], volumes: Volumes, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, variable in enumerate(env):
        at = path.index(index)
        name = variable.get("name") or ""
        if not name:
            errors.append(at.child("name").required())
        else:
            errors += invalid_all(at.child("name"), name, names.check_env_name(name))
        if variable.get("valueFrom") is not None:
            errors += _validate_env_source(variable, volumes, at.child("valueFrom"))
    return errors


def _validate_env_source(variable: Object, volumes: Volumes, path: Path) -> list[FieldError]:
    source = variable["valueFrom"]
    errors: list[FieldError] = []
    kinds = [kind for kind in _ENV_SOURCES if source.get(kind) is not None]
    for kind in kinds:
        at = path.child(kind)
        if kind == "fieldRef":
            errors += validate_field_ref(source[kind], at, ENV_FIELD_PATHS)
        elif kind == "resourceFieldRef":
            errors += validate_resource_field_ref(source[kind], at, in_volume=False)
        elif kind == "fileKeyRef":
            errors += _validate_file_key(source[kind], volumes, at)
        elif kind in ("configMapKeyRef", "secretKeyRef"):
            errors += _validate_key_selector(source[kind], at)
    if not kinds:
        wanted = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        errors.append(path.invalid("", f"must specify one of: {wanted}"))
    elif variable.get("value"):
        errors.append(path.invalid("", "may not be specified when `value` is not empty"))
    elif len(kinds) > 1:
        errors.append(path.invalid("", "may not have more than one field specified at a time"))
    return errors


def _validate_key_selector(selector: Mapping[str, Any], path: Path) -> list[FieldError]:
    name, key = selector.get("name") or "", selector.get("key") or ""
    errors = invalid_all(path.child("name"), name, names.check_dns_subdomain(name))
    if not key:
        errors.append(path.child("key").required())
    else:
        errors += invalid_all(path.child("key"), key, names.check_config_key(key))
    return errors


def _validate_file_key(selector: Mapping[str, Any], volumes: Volumes, path: Path) -> list[FieldError]:
    key, name, where = (selector.get(field) or "" for field in ("key", "volumeName", "path"))
    errors: list[FieldError] = []
    if not key:
        errors.append(path.child("key").required())
    elif len(key) > _MAX_FILE_KEY:
        errors.append(path.child("key").too_long(_MAX_FILE_KEY))
    else:
        errors += invalid_all(path.child("key"), key, names.check_env_name(key))
    if not name:
        errors.append(path.child("volumeName").required())
    elif name not in volumes:
        errors.append(path.child("volumeName").not_found(name))
    if not where:
        errors.append(path.child("path").required())
    else:
        errors += validate_target_path(where, path.child("path"))
    return errors


def _validate_env_from(sources: list[Object], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, source in enumerate(sources):
        at = path.index(index)
        if prefix := source.get("prefix"):
            errors += invalid_all(at.child("prefix"), prefix, names.check_env_name(prefix))
        kinds = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
        for kind in kinds:
            name = source[kind].get("name") or ""
            if not name:
                errors.append(at.child(kind, "name").required())
            else:
                errors += invalid_all(at.child(kind, "name"), name, names.check_dns_subdomain(name))
        if not kinds:
            errors.append(path.invalid("", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(kinds) > 1:
            errors.append(path.invalid("", "may not have more than one field specified at a time"))
    return errors


def _validate_mounts(container: Object, volumes: Volumes, path: Path) -> list[FieldError]:
    mounts, devices = container.get("volumeMounts") or [], container.get("volumeDevices") or []
    device_names = {device.get("name") for device in devices}
    device_paths = {device.get("devicePath") for device in devices}
    errors: list[FieldError] = []
    seen: set[str] = set()
    mounts_path = path.child("volumeMounts")
    for index, mount in enumerate(mounts):
        at = mounts_path.index(index)
        errors += _validate_mount(mount, container, volumes, at, mounts_path)
        where = mount.get("mountPath") or ""
        if where in seen:
            errors.append(at.child("mountPath").invalid(where, "must be unique"))
        seen.add(where)
        if mount.get("name") in device_names:
            errors.append(at.child("name").invalid(mount.get("name"), "must not already exist in volumeDevices"))
        if where in device_paths:
            detail = "must not already exist as a path in volumeDevices"
            errors.append(at.child("mountPath").invalid(where, detail))
    return errors + _validate_devices(devices, mounts, volumes, path.child("volumeDevices"))


def _validate_mount(
    mount: Object, container: Object, volumes: Volumes, path: Path, list_path: Path
) -> list[FieldError]:
    errors = []
    name = mount.get("name") or ""
    if not name:
        errors.append(path.child("name").required())
    if name not in volumes:
        errors.append(path.child("name").not_found(name))
    if not mount.get("mountPath"):
        errors.append(path.child("mountPath").required())
    sub_path, expression = mount.get("subPath"), mount.get("subPathExpr")
    # Kubernetes reports these without the index of the mount.
    if sub_path:
        errors += validate_descending_path(sub_path, list_path.child("subPath"))
    if expression:
        if sub_path:
            detail = "subPathExpr and subPath are mutually exclusive"
            errors.append(path.child("subPathExpr").invalid(expression, detail))
        errors += validate_descending_path(expression, list_path.child("subPathExpr"))
    propagation = mount.get("mountPropagation")
    if propagation is not None:
        errors += _validate_propagation(propagation, container, list_path.child("mountPropagation"))
    errors += _validate_mount_options(mount, volumes.get(name) or {}, path.child("bindMountOptions"))
    return errors + _validate_recursive_read_only(mount, list_path.child("recursiveReadOnly"))


def _validate_mount_options(mount: Object, volume: Object, path: Path) -> list[FieldError]:
    options = mount.get("bindMountOptions") or ()
    errors = [path.forbidden("may not be set for image volumes")] if options and "image" in volume else []
    for index, option in enumerate(options):
        if option not in _MOUNT_OPTIONS:
            errors.append(path.index(index).not_supported(option, _MOUNT_OPTIONS))
        elif option in options[:index]:
            errors.append(path.index(index).duplicate(option))
    return errors


def _validate_propagation(propagation: str, container: Object, path: Path) -> list[FieldError]:
    if propagation not in _PROPAGATIONS:
        return [path.not_supported(propagation, _PROPAGATIONS)]
    if propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        return [path.forbidden("Bidirectional mount propagation is available only to privileged containers")]
    return []


def _validate_recursive_read_only(mount: Object, path: Path) -> list[FieldError]:
    mode = mount.get("recursiveReadOnly")
    if mode is None or mode == "Disabled":
        return []
    if mode not in _RECURSIVE_READ_ONLY:
        return [path.not_supported(mode, _RECURSIVE_READ_ONLY)]
    errors = [] if mount.get("readOnly") else [path.forbidden("may only be specified when readOnly is true")]
    if mount.get("mountPropagation") not in (None, "None"):
        errors.append(path.forbidden("may only be specified when mountPropagation is None or not specified"))
    return errors


def _validate_devices(devices: list[Object], mounts: list[Object], volumes: Volumes, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    mount_names = {mount.get("name") for mount in mounts}
    seen_names: set[str] = set()
    seen_paths: set[str] = set()
    for index, device in enumerate(devices):
        at = path.index(index)
        name, where = device.get("name") or "", device.get("devicePath") or ""
        if not name:
            errors.append(at.child("name").required())
        if name and name in seen_names:
            errors.append(at.child("name").invalid(name, "must be unique"))
        if name not in volumes:
            errors.append(at.child("name").not_found(name))
        elif not {"persistentVolumeClaim", "ephemeral"} & volumes[name].keys():
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            errors.append(at.child("name").invalid(name, detail))
        if not where:
            errors.append(at.child("devicePath").required())
        if where in seen_paths:
            errors.append(at.child("devicePath").invalid(where, "must be unique"))
        if where and validate_no_backsteps(where, at):
            errors.append(at.child("devicePath").invalid(where, "can not contain backsteps ('..')"))
        if name in mount_names:
            errors.append(at.child("name").invalid(name, "must not already exist in volumeMounts"))
        seen_names.add(name)
        seen_paths.add(where)
    return errors


def _validate_resize(container: Object, restart_policy: str, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, rule in enumerate(container.get("resizePolicy") or ()):
        resource, policy = rule.get("resourceName") or "", rule.get("restartPolicy") or ""
        if resource in seen:
            errors.append(path.index(index).duplicate(resource))
        seen.add(resource)
        errors += one_of(path, resource, _RESIZE_RESOURCES)
        errors += one_of(path, policy, _RESIZE_POLICIES)
        if restart_policy == "Never" and policy != "NotRequired":
            errors.append(path.invalid(policy, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
    return errors
