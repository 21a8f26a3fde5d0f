"""What podhost does with each field of a pod, and what it says about those that it does not honour.

One table, ``RULES``: the warnings of the API, the events of the kubelet and ``docs/compat.md`` all come from it.  A
field that no rule names is honoured only if ``HONOURED`` lists it; a test walks the official definitions and fails
for any field that nobody decided about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from podhost.api.objects import Object, all_containers
from podhost.api.profile_annotations import annotation_warnings
from podhost.api.schema import definition

Treatment = Literal["honoured", "ignored", "warned", "rejected"]

_NOT_YET = "not honoured by podhost yet; "
_NEVER = "not honoured by podhost; "


@dataclass(frozen=True, slots=True)
class Rule:
    """A field that is not simply honoured.  ``text`` follows the path in the warning."""

    treatment: Treatment
    text: str


def _later(effect: str) -> Rule:
    return Rule("warned", _NOT_YET + effect)


_NO_SOURCE = "volumes here begin empty: a claim that is to have one made with data stays Pending, and an event says so"


def _never(effect: str) -> Rule:
    return Rule("warned", _NEVER + effect)


def _harmless(reason: str) -> Rule:
    return Rule("ignored", reason)


_ONE_NODE = "there is one node, and every pod runs on it"
_VOLUME = _later("the pod waits until the volume is removed from it")
_NO_PLUGIN = Rule("rejected", "no driver for this kind of volume exists on this machine")

RULES: Mapping[str, Mapping[str, Rule]] = {
    "PodSpec": {
        "topologySpreadConstraints": _never(_ONE_NODE),
        "priority": _harmless("the scheduler preempts nothing; evictions and critical pods go by it"),
        "priorityClassName": _harmless("nothing is preempted"),
        "preemptionPolicy": _harmless("nothing is preempted"),
        "schedulingGroup": _never("pods are started one by one, not as a group"),
        "evictionResponders": _harmless("nobody requests evictions"),
        "resourceClaims": _later("no device is allocated"),
    },
    "Affinity": {"podAffinity": _never(_ONE_NODE), "podAntiAffinity": _never(_ONE_NODE)},
    "NodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": _harmless("there is one node")},
    "PodSecurityContext": {
        "seLinuxChangePolicy": _harmless("volumes here are labelled file by file, as those without a CSI driver"),
        "windowsOptions": _never("containers here run Linux"),
    },
    "LifecycleHandler": {"tcpSocket": _never("such a hook fails, as it does on a cluster")},
    "HTTPGetAction": {"protocol": _later("HTTP/1.1 is spoken")},
    "Container": {
        "volumeDevices": _later("the device is not there"),
    },
    "EphemeralContainer": dict.fromkeys(
        (
            "lifecycle",
            "livenessProbe",
            "ports",
            "readinessProbe",
            "resizePolicy",
            "resources",
            "restartPolicy",
            "restartPolicyRules",
            "startupProbe",
        ),
        Rule("rejected", "as Kubernetes does for ephemeral containers"),
    )
    | {"volumeDevices": _later("the device is not there")},
    "SecurityContext": {
        "windowsOptions": _never("containers here run Linux"),
    },
    "ResourceRequirements": {"claims": _later("no device is allocated")},
    "VolumeProjection": {
        "clusterTrustBundle": _VOLUME,
        "podCertificate": _VOLUME,
    },
    "ObjectMeta": dict.fromkeys(
        (
            "creationTimestamp",
            "deletionGracePeriodSeconds",
            "deletionTimestamp",
            "finalizers",
            "generateName",
            "generation",
            "managedFields",
            "name",
            "namespace",
            "ownerReferences",
            "resourceVersion",
            "selfLink",
            "uid",
        ),
        Rule("rejected", "as Kubernetes does in a claim's template"),
    ),
    "PersistentVolumeClaimSpec": {
        "dataSource": _never(_NO_SOURCE),
        "dataSourceRef": _never(_NO_SOURCE),
        "volumeAttributesClassName": _never("volumes here have no attributes to choose"),
    },
    "VolumeResourceRequirements": {"limits": _harmless("the size of a local volume is not limited")},
    "Volume": {
        "csi": _NO_PLUGIN,
        "nfs": _NO_PLUGIN,
        "iscsi": _NO_PLUGIN,
        "fc": _NO_PLUGIN,
        "flexVolume": _NO_PLUGIN,
        "gitRepo": _NO_PLUGIN,
        "awsElasticBlockStore": _NO_PLUGIN,
        "azureDisk": _NO_PLUGIN,
        "azureFile": _NO_PLUGIN,
        "cephfs": _NO_PLUGIN,
        "cinder": _NO_PLUGIN,
        "flocker": _NO_PLUGIN,
        "gcePersistentDisk": _NO_PLUGIN,
        "glusterfs": _NO_PLUGIN,
        "photonPersistentDisk": _NO_PLUGIN,
        "portworxVolume": _NO_PLUGIN,
        "quobyte": _NO_PLUGIN,
        "rbd": _NO_PLUGIN,
        "scaleIO": _NO_PLUGIN,
        "storageos": _NO_PLUGIN,
        "vsphereVolume": _NO_PLUGIN,
    },
}
"""By structure and field.  What is below a field with a rule needs none of its own."""


@dataclass(frozen=True, slots=True)
class Need:
    """A field that is honoured where the kernel has a module; elsewhere ``text`` follows its path in the warning."""

    module: str
    text: str


_SELINUX = Need("SELinux", "SELinux is not enabled on the host; containers run without a label")
_APPARMOR = Need("AppArmor", "AppArmor is not enabled on the host; containers run without the profile")
NEEDS: Mapping[str, Mapping[str, Need]] = {
    "PodSecurityContext": {"appArmorProfile": _APPARMOR, "seLinuxOptions": _SELINUX},
    "SecurityContext": {"appArmorProfile": _APPARMOR, "seLinuxOptions": _SELINUX},
}
"""By structure and field, of those that are honoured."""

HONOURED: Mapping[str, frozenset[str]] = {
    name: frozenset(fields.split())
    for name, fields in {
        "PodSpec": "activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy "
        "enableServiceLinks ephemeralContainers hostAliases hostIPC hostname hostnameOverride hostNetwork "
        "hostPID hostUsers imagePullSecrets initContainers nodeName nodeSelector os overhead readinessGates resources "
        "restartPolicy runtimeClassName schedulerName schedulingGates securityContext serviceAccount "
        "serviceAccountName setHostnameAsFQDN shareProcessNamespace subdomain terminationGracePeriodSeconds "
        "tolerations volumes",
        "Affinity": "nodeAffinity",
        "NodeAffinity": "requiredDuringSchedulingIgnoredDuringExecution",
        "PodOS": "name",
        "NodeSelector": "nodeSelectorTerms",
        "NodeSelectorTerm": "matchExpressions matchFields",
        "NodeSelectorRequirement": "key operator values",
        "Toleration": "effect key operator tolerationSeconds value",
        "PodDNSConfig": "nameservers options searches",
        "PodDNSConfigOption": "name value",
        "HostAlias": "hostnames ip",
        "LocalObjectReference": "name",
        "PodSecurityContext": "appArmorProfile fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser "
        "seLinuxOptions seccompProfile supplementalGroups supplementalGroupsPolicy sysctls",
        "Sysctl": "name value",
        "PodReadinessGate": "conditionType",
        "PodSchedulingGate": "name",
        "Lifecycle": "postStart preStop stopSignal",
        "LifecycleHandler": "exec httpGet sleep",
        "Probe": "exec failureThreshold grpc httpGet initialDelaySeconds periodSeconds successThreshold tcpSocket "
        "terminationGracePeriodSeconds timeoutSeconds",
        "ExecAction": "command",
        "HTTPGetAction": "host httpHeaders path port scheme",
        "HTTPHeader": "name value",
        "TCPSocketAction": "host port",
        "GRPCAction": "mode port service",
        "SleepAction": "seconds",
        "Container": "args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports "
        "readinessProbe resizePolicy resources startupProbe "
        "restartPolicy restartPolicyRules securityContext stdin stdinOnce terminationMessagePath "
        "terminationMessagePolicy tty volumeMounts workingDir",
        "EphemeralContainer": "args command env envFrom image imagePullPolicy name securityContext stdin stdinOnce "
        "targetContainerName terminationMessagePath terminationMessagePolicy tty volumeMounts workingDir",
        "ContainerRestartRule": "action exitCodes",
        "ContainerRestartRuleOnExitCodes": "operator values",
        "ContainerPort": "containerPort hostIP hostPort name protocol",
        "ResourceRequirements": "limits requests",
        "ContainerResizePolicy": "resourceName restartPolicy",
        "EnvVar": "name value valueFrom",
        "EnvVarSource": "configMapKeyRef fieldRef fileKeyRef resourceFieldRef secretKeyRef",
        "FileKeySelector": "key optional path volumeName",
        "ConfigMapKeySelector": "key name optional",
        "SecretKeySelector": "key name optional",
        "ObjectFieldSelector": "apiVersion fieldPath",
        "ResourceFieldSelector": "containerName divisor resource",
        "EnvFromSource": "configMapRef prefix secretRef",
        "ConfigMapEnvSource": "name optional",
        "SecretEnvSource": "name optional",
        "VolumeMount": "bindMountOptions mountPath mountPropagation name readOnly recursiveReadOnly subPath "
        "subPathExpr",
        "SecurityContext": "allowPrivilegeEscalation appArmorProfile capabilities privileged procMount "
        "readOnlyRootFilesystem runAsGroup runAsNonRoot runAsUser seLinuxOptions seccompProfile",
        "Capabilities": "add drop",
        "AppArmorProfile": "localhostProfile type",
        "SELinuxOptions": "level role type user",
        "SeccompProfile": "localhostProfile type",
        "Volume": "configMap downwardAPI emptyDir ephemeral hostPath image name persistentVolumeClaim projected secret",
        "ImageVolumeSource": "pullPolicy reference",
        "PersistentVolumeClaimVolumeSource": "claimName readOnly",
        "EphemeralVolumeSource": "volumeClaimTemplate",
        "PersistentVolumeClaimTemplate": "metadata spec",
        "ObjectMeta": "annotations labels",
        "PersistentVolumeClaimSpec": "accessModes resources selector storageClassName volumeMode volumeName",
        "VolumeResourceRequirements": "requests",
        "LabelSelector": "matchExpressions matchLabels",
        "LabelSelectorRequirement": "key operator values",
        "DownwardAPIVolumeSource": "defaultMode defaultUser items",
        "DownwardAPIVolumeFile": "fieldRef mode path resourceFieldRef user",
        "ProjectedVolumeSource": "defaultMode defaultUser sources",
        "VolumeProjection": "configMap downwardAPI secret serviceAccountToken",
        "ServiceAccountTokenProjection": "audience expirationSeconds path user",
        "ConfigMapProjection": "items name optional",
        "SecretProjection": "items name optional",
        "DownwardAPIProjection": "items",
        "EmptyDirVolumeSource": "medium mode sizeLimit",
        "HostPathVolumeSource": "path type",
        "ConfigMapVolumeSource": "defaultMode defaultUser items name optional",
        "SecretVolumeSource": "defaultMode defaultUser items optional secretName",
        "KeyToPath": "key mode path user",
    }.items()
}

_POD_SPEC = "io.k8s.api.core.v1.PodSpec"
# What the API fills in by default says nothing about what the user wanted.
_DEFAULTS: Mapping[tuple[str, str], tuple[Any, ...]] = {
    ("PodSpec", "automountServiceAccountToken"): (False,),
}


@dataclass(frozen=True, slots=True)
class FieldWarning:
    """A field of an object that is accepted and not honoured."""

    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"


def need_for(structure: str, field: str) -> Need | None:
    """What an honoured field needs from the kernel."""
    return NEEDS.get(structure, {}).get(field)


def rule_for(structure: str, field: str) -> Rule | None:
    """The rule of a field; ``None`` when it is honoured."""
    return RULES.get(structure, {}).get(field)


def pod_spec_warnings(spec: Mapping[str, Any], path: str = "spec") -> list[FieldWarning]:
    """Everything in a pod's spec that will not have the effect it has on a cluster."""
    return list(_walk(spec, _POD_SPEC, path))


def pod_spec_host_warnings(spec: Mapping[str, Any], missing: Collection[str]) -> list[FieldWarning]:
    """What has no effect on a machine whose kernel lacks the modules ``missing``."""
    contexts = [("PodSecurityContext", "spec.securityContext", spec.get("securityContext") or {})]
    contexts += [
        ("SecurityContext", f"spec.{group}[{index}].securityContext", container.get("securityContext") or {})
        for group, index, container in all_containers(spec)
    ]
    return [
        FieldWarning(f"{path}.{name}", need.text)
        for structure, path, context in contexts
        for name, need in NEEDS[structure].items()
        if need.module in missing and context.get(name) and context[name].get("type") != "Unconfined"
    ]


def _walk(value: Mapping[str, Any], name: str, path: str) -> Iterator[FieldWarning]:
    facts = definition(name)
    structure = facts.short_name
    rules = RULES.get(structure, {})
    for key, child in value.items():
        rule = rules.get(key)
        at = f"{path}.{key}"
        if rule is not None:
            if rule.treatment == "warned" and child not in _DEFAULTS.get((structure, key), ()):
                yield FieldWarning(at, rule.text)
            continue
        field = facts.fields.get(key)
        ref = field.type.element_ref if field is not None else ""
        if not ref:
            continue
        if isinstance(child, dict):
            yield from _walk(child, ref, at)
        elif isinstance(child, list):
            for index, item in enumerate(child):
                if isinstance(item, dict):
                    yield from _walk(item, ref, f"{at}[{index}]")


def pod_warnings(pod: Object) -> list[str]:
    """Texts for ``Warning`` headers: podhost's own, then Kubernetes' about duplicates."""
    spec = pod.get("spec") or {}
    own = [str(warning) for warning in pod_spec_warnings(spec)]
    return own + annotation_warnings(pod) + _duplicate_env(spec) + _odd_ports(spec)


def pod_host_warnings(pod: Object, missing: Collection[str]) -> list[str]:
    return [str(warning) for warning in pod_spec_host_warnings(pod.get("spec") or {}, missing)]


def _duplicate_env(spec: Mapping[str, Any]) -> list[str]:
    found = []
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or ()):
            seen: set[str] = set()
            for number, variable in enumerate(container.get("env") or ()):
                name = variable.get("name") or ""
                if name in seen:
                    where = f"spec.{group}[{index}].env[{number}]"
                    found.append(f'{where}: hides previous definition of "{name}", which may be unexpected')
                seen.add(name)
    return found


def _odd_ports(spec: Mapping[str, Any]) -> list[str]:
    """Two containers that declare one port cannot both listen on it."""
    found = []
    owners: dict[tuple[int, str], str] = {}
    for index, container in enumerate(spec.get("containers") or ()):
        for number, port in enumerate(container.get("ports") or ()):
            key = (port.get("containerPort") or 0, port.get("protocol") or "TCP")
            where = f"spec.containers[{index}].ports[{number}]"
            if key in owners:
                found.append(f"{where}: duplicate port definition with {owners[key]}")
            owners.setdefault(key, where)
    return found


def service_warnings(service: Object) -> list[str]:
    spec = service.get("spec") or {}
    found = []
    if spec.get("type") == "LoadBalancer":
        found.append(f"spec.type: LoadBalancer is {_NOT_YET}the Service answers on its cluster and node ports only")
    unused = [name for name in ("trafficDistribution", "externalIPs") if spec.get(name)]
    found += [f"spec.{name}: {_NOT_YET}traffic is routed without it" for name in unused]
    has_own_endpoints = spec.get("clusterIP") == "None" and not spec.get("selector")
    if "IPv6" in (spec.get("ipFamilies") or ()) and not has_own_endpoints:
        found.append(f"spec.ipFamilies: IPv6 is {_NOT_YET}the Service has an IPv4 address only")
    return found


def endpoints_warnings(_endpoints: Object) -> list[str]:
    """Kubernetes' own since 1.33."""
    return ["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"]


def no_warnings(_obj: Object) -> list[str]:
    return []


def no_host_warnings(_obj: Object, _missing: Collection[str]) -> list[str]:
    return []


def undecided_fields() -> list[str]:
    """Fields reachable from a pod's spec that neither ``RULES`` nor ``HONOURED`` names: must be none."""
    missing: list[str] = []
    seen: set[str] = set()
    waiting = [_POD_SPEC]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        facts = definition(name)
        for key, field in facts.fields.items():
            if rule_for(facts.short_name, key) is not None:
                continue
            if key not in HONOURED.get(facts.short_name, frozenset()):
                missing.append(f"{facts.short_name}.{key}")
            elif field.type.element_ref:
                waiting.append(field.type.element_ref)
    return sorted(missing)
