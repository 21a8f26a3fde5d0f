"""Pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path, go_quote
from podhost.api.objects import MIRROR_ANNOTATION, Object, all_containers, is_mirror_pod, section
from podhost.api.validation.containers import (
    PodContext,
    validate_containers,
    validate_ephemeral_containers,
    validate_init_containers,
)
from podhost.api.validation.ips import validate_ip
from podhost.api.validation.metadata import (
    immutable,
    in_range,
    invalid_all,
    one_of,
    validate_annotations,
    validate_labels,
)
from podhost.api.validation.pod_changes import describe_changes, validate_spec_changes
from podhost.api.validation.profiles import validate_profile_annotations, validate_profiles_match
from podhost.api.validation.resources import validate_resources
from podhost.api.validation.scheduling import validate_scheduling
from podhost.api.validation.security import validate_pod_security
from podhost.api.validation.volumes import validate_drivers, validate_volumes

_SPEC = Path("spec")
_ANNOTATIONS = Path("metadata").child("annotations")
_MIRROR = _ANNOTATIONS.key(MIRROR_ANNOTATION)
_MAX_INT32 = 2**31 - 1
_HOST_NAME_MAX = 64
"""The kernel's."""
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_NAMESERVERS_MAX = 3
_SEARCHES_MAX = 32
_SEARCHES_MAX_CHARS = 2048
_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")


def validate_pod(pod: Object) -> list[FieldError]:
    """A new pod."""
    spec, annotations = pod.get("spec") or {}, section(pod, "metadata", "annotations")
    errors = validate_profile_annotations(annotations, spec, _ANNOTATIONS)
    errors += validate_pod_spec(spec, _SPEC) + validate_drivers(spec.get("volumes") or [], _SPEC.child("volumes"))
    if spec.get("ephemeralContainers"):
        errors.append(_SPEC.child("ephemeralContainers").forbidden("cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        detail = "cannot be set until all schedulingGates have been cleared"
        errors.append(_SPEC.child("nodeName").forbidden(detail))
    errors += validate_profiles_match(annotations, spec, _SPEC)
    if is_mirror_pod(pod) and not spec.get("nodeName"):
        value = pod["metadata"]["annotations"][MIRROR_ANNOTATION]
        errors.append(_MIRROR.invalid(value, "must set spec.nodeName if mirror pod annotation is set"))
    return errors


def validate_pod_template(obj: Object) -> list[FieldError]:
    """The pod in a ``PodTemplate``."""
    path, template = Path("template"), obj.get("template") or {}
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    errors = validate_labels(metadata.get("labels") or {}, path.child("metadata", "labels"))
    annotations, at = metadata.get("annotations") or {}, path.child("metadata", "annotations")
    errors += validate_annotations(annotations, at) + validate_profile_annotations(annotations, spec, at)
    errors += validate_pod_spec(spec, path.child("spec"))
    if spec.get("ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        errors.append(path.child("spec", "ephemeralContainers").forbidden(detail))
    return errors


def validate_pod_template_update(new: Object, _old: Object) -> list[FieldError]:
    return validate_pod_template(new)


def validate_pod_update(new: Object, old: Object) -> list[FieldError]:
    """A changed pod: valid in itself, and only what may change has changed."""
    spec = new.get("spec") or {}
    errors = _validate_mirror_annotation(new, old) + validate_pod_spec(spec, _SPEC)
    errors += validate_profile_annotations(section(new, "metadata", "annotations"), spec, _ANNOTATIONS)
    return errors + validate_spec_changes(new.get("spec") or {}, old.get("spec") or {}, _SPEC)


def _validate_mirror_annotation(new: Object, old: Object) -> list[FieldError]:
    values = [((pod.get("metadata") or {}).get("annotations") or {}).get(MIRROR_ANNOTATION) for pod in (new, old)]
    if values[0] == values[1]:
        return []
    if values[1] is None:
        return [_MIRROR.forbidden("may not add mirror pod annotation")]
    return [_MIRROR.forbidden("may not remove or update mirror pod annotation")]


def validate_ephemeral_containers_update(new: Object, old: Object) -> list[FieldError]:
    """A pod that gets ephemeral containers: those that it has stay as they are."""
    if is_mirror_pod(old):
        return [Path("").forbidden("static pods do not support ephemeral containers")]
    errors = validate_pod_spec(new.get("spec") or {}, _SPEC)
    at = _SPEC.child("ephemeralContainers")
    present = {c.get("name"): c for c in (new.get("spec") or {}).get("ephemeralContainers") or ()}
    for container in (old.get("spec") or {}).get("ephemeralContainers") or ():
        name = container.get("name")
        if name not in present:
            errors.append(at.forbidden(f"existing ephemeral containers {go_quote(name)} may not be removed\n"))
        elif present[name] != container:
            diff = "\n".join(describe_changes(present[name], container, str(at)))
            errors.append(at.forbidden(f"existing ephemeral containers {go_quote(name)} may not be changed\n{diff}"))
    return errors


def validate_pod_spec(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    """A pod's spec, also inside templates."""
    volumes, errors = validate_volumes(spec.get("volumes") or [], path.child("volumes"))
    context = PodContext(
        volumes=volumes,
        claim_names=frozenset(claim.get("name") or "" for claim in spec.get("resourceClaims") or ()),
        grace_s=_known_grace(spec),
        restart_policy=spec.get("restartPolicy") or "",
        host_users=spec.get("hostUsers") is not False,
    )
    regular, init = spec.get("containers") or [], spec.get("initContainers") or []
    errors += validate_containers(regular, context, path.child("containers"))
    if init:
        errors += validate_init_containers(init, regular, context, path.child("initContainers"))
    if ephemeral := spec.get("ephemeralContainers"):
        at = path.child("ephemeralContainers")
        errors += validate_ephemeral_containers(ephemeral, [*regular, *init], context, at)
    if resources := spec.get("resources"):
        errors += validate_resources(resources, path.child("resources"), pod_level=True)
    errors += one_of(path.child("restartPolicy"), spec.get("restartPolicy"), _RESTART_POLICIES)
    errors += one_of(path.child("dnsPolicy"), spec.get("dnsPolicy"), _DNS_POLICIES)
    if node_selector := spec.get("nodeSelector"):
        errors += validate_labels(node_selector, path.child("nodeSelector"))
    errors += validate_pod_security(spec, path.child("securityContext"))
    errors += _validate_host_network_ports(spec, path.child("containers"))
    errors += _validate_dns(spec, path.child("dnsConfig"))
    errors += validate_scheduling(spec, path)
    errors += _validate_resource_claims(spec, path.child("resourceClaims"))
    errors += _validate_host_users(spec, path)
    errors += _validate_names(spec, path)
    return errors + _validate_numbers(spec, path) + _validate_os(spec, path)


def _validate_resource_claims(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    """Of each: one source, and not both."""
    errors: list[FieldError] = []
    for index, claim in enumerate(spec.get("resourceClaims") or ()):
        sources = [claim.get(name) is not None for name in ("resourceClaimName", "resourceClaimTemplateName")]
        if all(sources):
            detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            errors.append(path.index(index).invalid(dict(claim), detail))
        elif not any(sources):
            detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            errors.append(path.index(index).invalid(dict(claim), detail))
    return errors


def _known_grace(spec: Mapping[str, Any]) -> int | None:
    """An invalid grace period is reported once, not again for each hook."""
    grace: int | None = spec.get("terminationGracePeriodSeconds")
    return grace if grace is not None and grace >= 0 else None


def _validate_host_network_ports(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    if not spec.get("hostNetwork"):
        return []
    detail = "must match `containerPort` when `hostNetwork` is true"
    return [
        path.index(index).child("ports").index(number).child("hostPort").invalid(port.get("hostPort") or 0, detail)
        for index, container in enumerate(spec.get("containers") or ())
        for number, port in enumerate(container.get("ports") or ())
        if (port.get("hostPort") or 0) != (port.get("containerPort") or 0)
    ]


def _validate_dns(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    config = spec.get("dnsConfig")
    servers = (config or {}).get("nameservers") or []
    if spec.get("dnsPolicy") == "None":
        if config is None:
            return [path.required("must provide `dnsConfig` when `dnsPolicy` is None")]
        if not servers:
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [path.child("nameservers").required(detail)]
    if config is None:
        return []
    errors = []
    if len(servers) > _NAMESERVERS_MAX:
        detail = f"must not have more than {_NAMESERVERS_MAX} nameservers"
        errors.append(path.child("nameservers").invalid(servers, detail))
    for index, server in enumerate(servers):
        errors += validate_ip(server, path.child("nameservers").index(index))
    errors += _validate_searches(config.get("searches") or [], path.child("searches"))
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errors.append(path.child("options").index(index).required("must not be empty"))
    return errors


def _validate_searches(searches: list[str], path: Path) -> list[FieldError]:
    errors = []
    if len(searches) > _SEARCHES_MAX:
        errors.append(path.invalid(searches, f"must not have more than {_SEARCHES_MAX} search paths"))
    if len(" ".join(searches)) > _SEARCHES_MAX_CHARS:
        detail = f"must not have more than {_SEARCHES_MAX_CHARS} characters (including spaces) in the search list"
        errors.append(path.invalid(searches, detail))
    for index, search in enumerate(searches):
        if search != ".":
            domain = search.removesuffix(".")
            errors += invalid_all(path.index(index), domain, names.check_dns_subdomain_with_underscore(domain))
    return errors


def _validate_host_users(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    if spec.get("hostUsers") is not False:
        return []
    detail = "when `pod.Spec.HostUsers` is false"
    shown = (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))
    return [path.child(name).forbidden(detail) for field, name in shown if spec.get(field)]


def _validate_hostname_override(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    value, at = spec.get("hostnameOverride"), path.child("hostnameOverride")
    if not value:
        return []
    errors = invalid_all(at, value, names.check_dns_subdomain(value))
    if len(value) > _HOST_NAME_MAX:
        errors.append(at.too_long(_HOST_NAME_MAX))
    unfit = [name for name in ("setHostnameAsFQDN", "hostNetwork") if spec.get(name)]
    return errors + [at.forbidden(f"may not be set when `{name}` is true") for name in unfit]


def _validate_names(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = _validate_hostname_override(spec, path)
    for name, check in (
        ("serviceAccountName", names.check_dns_subdomain),
        ("nodeName", names.check_dns_subdomain),
        ("hostname", names.check_dns_label),
        ("subdomain", names.check_dns_label),
        ("priorityClassName", names.check_dns_subdomain),
        ("runtimeClassName", names.check_dns_subdomain),
    ):
        if value := spec.get(name):
            errors += invalid_all(path.child(name), value, check(value))
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        at = path.child("hostAliases").index(index)
        errors += validate_ip(alias.get("ip") or "", at.child("ip"))
        for host in alias.get("hostnames") or ():
            errors += invalid_all(path.child("hostAliases").child("hostnames"), host, names.check_dns_subdomain(host))
    return errors


def _validate_numbers(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    deadline = spec.get("activeDeadlineSeconds")
    return [] if deadline is None else in_range(path.child("activeDeadlineSeconds"), deadline, 1, _MAX_INT32)


def _validate_os(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    system = spec.get("os")
    if system is None:
        return []
    errors = one_of(path.child("os", "name"), system.get("name"), frozenset({"linux", "windows"}))
    if system.get("name") == "linux":
        holders = [(spec, path), *((c, path.child(group).index(i)) for group, i, c in all_containers(spec))]
        errors += (
            at.child("securityContext", "windowsOptions").forbidden("windows options cannot be set for a linux pod")
            for holder, at in holders
            if section(holder, "securityContext").get("windowsOptions") is not None
        )
    return errors


def validate_pod_status_update(new: Object, old: Object) -> list[FieldError]:
    """A status that somebody wrote: terminated containers stay so unless they may restart."""
    status, old_status = new.get("status") or {}, old.get("status") or {}
    path = Path("status")
    errors: list[FieldError] = []
    for index, condition in enumerate(status.get("conditions") or ()):
        kind = condition.get("type") or ""
        if kind not in _SYSTEM_CONDITIONS:
            at = Path("metadata").child("conditions").index(index).child("Type")
            errors += invalid_all(at, kind, names.check_qualified_name(kind))
    errors += immutable(path.child("qosClass"), status.get("qosClass") or "", old_status.get("qosClass") or "")
    for name in ("podIPs", "hostIPs"):
        errors += _validate_addresses(status.get(name) or (), old_status.get(name) or (), path.child(name))
    spec = old.get("spec") or {}
    policy = spec.get("restartPolicy") or ""
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    for field, restart, exempt in (
        ("containerStatuses", policy, set()),
        ("initContainerStatuses", policy, sidecars),
        ("ephemeralContainerStatuses", "Never", set()),
    ):
        errors += _validate_transitions(status.get(field), old_status.get(field), restart, exempt, path.child(field))
    return errors


def _validate_addresses(new: Sequence[Any], old: Sequence[Any], path: Path) -> list[FieldError]:
    """One of each family at the most; what was there already is not looked at again."""
    errors: list[FieldError] = []
    known = {entry.get("ip") for entry in old}
    texts = [entry.get("ip") or "" for entry in new]
    for index, text in enumerate(texts):
        if text not in known:
            errors += validate_ip(text, path.index(index))
    if len(texts) > 1 and (len(texts) > 2 or (":" in texts[0]) == (":" in texts[1])):
        errors.append(
            path.invalid([dict(entry) for entry in new], "may specify no more than one IP for each IP family")
        )
    return errors


def _validate_transitions(new: Any, old: Any, policy: str, exempt: set[Any], path: Path) -> list[FieldError]:
    if policy == "Always":
        return []
    states = {status.get("name"): status.get("state") or {} for status in new or ()}
    errors = []
    for index, status in enumerate(old or ()):
        terminated = (status.get("state") or {}).get("terminated")
        name = status.get("name")
        if terminated is None or name in exempt or name not in states:
            continue
        if terminated.get("exitCode") and policy == "OnFailure":
            continue
        if states[name].get("terminated") is None:
            detail = "may not be transitioned to non-terminated state"
            errors.append(path.index(index).child("state").forbidden(detail))
    return errors
