"""Variables of a container from everywhere that Kubernetes has them from."""

from __future__ import annotations

import json
from typing import Any

from harness.covers import covers
from harness.daemon import Daemon
from harness.pods import wait_for_waiting


def _ref(kind: str, **ref: Any) -> dict[str, Any]:
    return {kind: ref}


def _field(path: str) -> dict[str, Any]:
    return _ref("fieldRef", fieldPath=path)


def _resource(resource: str, **more: Any) -> dict[str, Any]:
    return _ref("resourceFieldRef", resource=resource, **more)


SOURCES = {
    "SECRET": _ref("secretKeyRef", name="s", key="key"),
    "COLOUR": _ref("configMapKeyRef", name="cm", key="COLOUR"),
    "FILE": _ref("fileKeyRef", volumeName="d", path="sub/app.env", key="GREETING"),
    "NO_KEY": _ref("configMapKeyRef", name="cm", key="none", optional=True),
    "NO_SECRET": _ref("secretKeyRef", name="none", key="key", optional=True),
    "NO_FILE": _ref("fileKeyRef", volumeName="d", path="none.env", key="X", optional=True),
    "NAME": _field("metadata.name"),
    "NAMESPACE": _field("metadata.namespace"),
    "UID_": _field("metadata.uid"),
    "LABEL": _field("metadata.labels['app']"),
    "ANNOTATION": _field("metadata.annotations['note']"),
    "NODE": _field("spec.nodeName"),
    "ACCOUNT": _field("spec.serviceAccountName"),
    "POD_IP": _field("status.podIP"),
    "POD_IPS": _field("status.podIPs"),
    "HOST_IP": _field("status.hostIP"),
    "HOST_IPS": _field("status.hostIPs"),
    "CPU_LIMIT": _resource("limits.cpu"),
    "CPU_MILLIS": _resource("requests.cpu", divisor="1m"),
    "MEMORY": _resource("limits.memory", divisor="1Mi"),
    "MEMORY_OF_INIT": _resource("requests.memory", containerName="init"),
}


@covers(
    "ConfigMapEnvSource.name", "ConfigMapEnvSource.optional", "ConfigMapKeySelector.key",
    "ConfigMapKeySelector.name", "ConfigMapKeySelector.optional", "Container.envFrom", "EnvFromSource.configMapRef",
    "EnvFromSource.prefix", "EnvFromSource.secretRef", "EnvVar.name", "EnvVar.value", "EnvVar.valueFrom",
    "EnvVarSource.configMapKeyRef", "EnvVarSource.fieldRef", "EnvVarSource.fileKeyRef",
    "EnvVarSource.resourceFieldRef", "EnvVarSource.secretKeyRef", "FileKeySelector.key", "FileKeySelector.optional",
    "FileKeySelector.path", "FileKeySelector.volumeName", "ObjectFieldSelector.apiVersion",
    "ObjectFieldSelector.fieldPath", "PodSpec.enableServiceLinks", "PodSpec.serviceAccountName",
    "ResourceFieldSelector.containerName", "ResourceFieldSelector.divisor", "ResourceFieldSelector.resource",
    "SecretEnvSource.name", "SecretEnvSource.optional", "SecretKeySelector.key", "SecretKeySelector.name",
    "SecretKeySelector.optional",
)  # fmt: skip
@covers(
    "ConfigMapEnvSource.name", "ConfigMapEnvSource.optional", "ConfigMapKeySelector.key",
    "ConfigMapKeySelector.name", "ConfigMapKeySelector.optional", "Container.env", "Container.envFrom",
    "EnvFromSource.configMapRef", "EnvFromSource.prefix", "EnvFromSource.secretRef", "EnvVar.name", "EnvVar.value",
    "EnvVar.valueFrom", "EnvVarSource.configMapKeyRef", "EnvVarSource.fieldRef", "EnvVarSource.fileKeyRef",
    "EnvVarSource.resourceFieldRef", "EnvVarSource.secretKeyRef", "FileKeySelector.key", "FileKeySelector.optional",
    "FileKeySelector.path", "FileKeySelector.volumeName", "ObjectFieldSelector.fieldPath",
    "PodSpec.enableServiceLinks", "ResourceFieldSelector.containerName", "ResourceFieldSelector.divisor",
    "ResourceFieldSelector.resource", "SecretEnvSource.name", "SecretEnvSource.optional", "SecretKeySelector.key",
    "SecretKeySelector.name", "SecretKeySelector.optional",
)  # fmt: skip
def test_variables_come_from_everywhere(daemon: Daemon, namespace: str) -> None:
    daemon.kubectl("create", "-n", namespace, "configmap", "cm", "--from-literal=COLOUR=blue")
    daemon.kubectl("create", "-n", namespace, "secret", "generic", "s", "--from-literal=key=hush")
    daemon.kubectl("create", "-n", namespace, "service", "clusterip", "my-db", "--tcp=5432:5432")
    volume = {"volumeMounts": [{"name": "d", "mountPath": "/d"}]}
    script = "mkdir /d/sub; echo \"GREETING='good  day'\" > /d/sub/app.env"
    init: dict[str, Any] = {"name": "init", "image": "debian", "command": ["bash", "-c", script], **volume}
    init["resources"] = {"requests": {"memory": "1Ki"}}
    env: list[dict[str, Any]] = [{"name": name, "valueFrom": source} for name, source in SOURCES.items()]
    env += [{"name": "MIXED", "value": "$(NAME)-$$(NAME)-$(NONE)-$(MY_DB_SERVICE_PORT)-$(FILE)"}]
    main: dict[str, Any] = {
        "name": "c", "image": "debian", "command": ["bash", "-c", "env -0 | sort -z | tr '\\0' '\\n'; echo $0", "$(LABEL)"],
        "env": env, "envFrom": [{"prefix": "PRE_", "configMapRef": {"name": "cm"}}, {"secretRef": {"name": "s"}},
                                {"configMapRef": {"name": "none", "optional": True}}],
        "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}},
    }  # fmt: skip
    meta = {"labels": {"app": "shop"}, "annotations": {"note": "n"}}
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "volumes": [{"name": "d", "emptyDir": {}}],
        "initContainers": [init],
    }
    for name, more in (("p", True), ("q", False)):
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **meta},
                    "spec": {**spec, "enableServiceLinks": more, "containers": [main]}}  # fmt: skip
        daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))
    for name in ("p", "q"):
        phase = "--for=jsonpath={.status.phase}=Succeeded"
        daemon.kubectl("wait", "-n", namespace, phase, f"pod/{name}", "--timeout=40s")
    pod = daemon.pod("p", namespace)
    lines = daemon.kubectl("logs", "-n", namespace, "p").stdout.splitlines()
    seen = dict(line.split("=", 1) for line in lines[:-1])
    status = pod["status"]
    expected = {
        "SECRET": "hush", "COLOUR": "blue", "FILE": "good  day", "NAME": "p", "NAMESPACE": namespace,
        "UID_": pod["metadata"]["uid"], "LABEL": "shop", "ANNOTATION": "n", "NODE": pod["spec"]["nodeName"],
        "ACCOUNT": "default", "POD_IP": status["podIP"], "POD_IPS": status["podIP"], "HOST_IP": status["hostIP"],
        "HOST_IPS": ",".join(entry["ip"] for entry in status["hostIPs"]), "CPU_LIMIT": "1", "CPU_MILLIS": "250",
        "MEMORY": "64", "MEMORY_OF_INIT": "1024", "PRE_COLOUR": "blue", "key": "hush", "HOSTNAME": "p",
        "MIXED": "p-$(NAME)-$(NONE)-5432-good  day", "MY_DB_PORT_5432_TCP_PROTO": "tcp",
    }  # fmt: skip
    assert {name: seen.get(name) for name in expected} == expected
    assert not {"NO_KEY", "NO_SECRET", "NO_FILE"} & seen.keys()
    assert lines[-1] == "shop"
    others = daemon.kubectl("logs", "-n", namespace, "q").stdout
    assert "KUBERNETES_SERVICE_HOST=" in others
    assert "MY_DB_SERVICE_HOST" not in others

    broken = {"name": "c", "image": "debian", "env": [
        {"name": "X", "valueFrom": _ref("fileKeyRef", volumeName="d", path="none.env", key="X")}]}  # fmt: skip
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "r"},
                "spec": {"volumes": spec["volumes"], "containers": [broken]}}  # fmt: skip
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))
    message = wait_for_waiting(daemon, namespace, "r", "CreateContainerConfigError")
    assert message == 'environment variable key "X" not found in file "none.env"'
