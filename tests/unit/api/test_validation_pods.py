"""What is wrong with a pod is said all at once, in Kubernetes' words."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podhost.api import kinds
from podhost.api.kind import Kind, validate, validate_status_update, validate_update
from podhost.api.structure import check_structure

Document = dict[str, Any]
MakePod = Callable[..., Document]


def _errors(document: Document) -> list[str]:
    decoded = check_structure(document, kinds.POD.schema)
    assert decoded.type_errors == []
    kinds.POD.default(decoded.document)
    return [error.message for error in validate(kinds.POD, decoded.document)]


def _container(**fields: Any) -> Document:
    return {"containers": [{"name": "a", "image": "busybox:1", **fields}]}


def _volume(**fields: Any) -> Document:
    return {"containers": [{"name": "a", "image": "b"}], "volumes": [{"name": "v", **fields}]}


@pytest.mark.parametrize("name", ["/", "a/b", "A", "-a", "a b"])
def test_a_hostname_override_is_a_name(make_pod: MakePod, name: str) -> None:
    (error,) = _errors(make_pod(hostnameOverride=name))
    assert error.startswith(
        f'spec.hostnameOverride: Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist'
    )


def test_a_good_pod_has_no_errors(make_pod: MakePod) -> None:
    assert _errors(make_pod()) == []


_ROWS: list[tuple[Document, list[str]]] = [
    ({"containers": []}, ["spec.containers: Required value"]),
    (
        _container(volumeMounts=[{"name": "v", "mountPath": "/v", "bindMountOptions": ["noexec", "dev", "noexec"]}])
        | {"volumes": [{"name": "v", "emptyDir": {}}]},
        [
            'spec.containers[0].volumeMounts[0].bindMountOptions[1]: Unsupported value: "dev": '
            'supported values: "nodev", "noexec", "nosuid"',
            'spec.containers[0].volumeMounts[0].bindMountOptions[2]: Duplicate value: "noexec"',
        ],
    ),
    (
        _container(volumeMounts=[{"name": "v", "mountPath": "/v", "bindMountOptions": ["noexec"]}])
        | {"volumes": [{"name": "v", "image": {"reference": "i"}}]},
        ["spec.containers[0].volumeMounts[0].bindMountOptions: Forbidden: may not be set for image volumes"],
    ),
    (
        _container() | {"hostnameOverride": "a." * 32 + "b", "setHostnameAsFQDN": True},
        [
            "spec.hostnameOverride: Too long: may not be more than 64 bytes",
            "spec.hostnameOverride: Forbidden: may not be set when `setHostnameAsFQDN` is true",
        ],
    ),
    (
        {"containers": [{}]},
        ["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"],
    ),
    (
        _container(image=" nginx"),
        ['spec.containers[0].image: Invalid value: " nginx": must not have leading or trailing whitespace'],
    ),
    (
        {"containers": [{"name": "a", "image": "b"}, {"name": "a", "image": "c"}]},
        ['spec.containers[1].name: Duplicate value: "a"'],
    ),
    (
        _container() | {"initContainers": [{"name": "a", "image": "c"}]},
        ['spec.initContainers[0].name: Duplicate value: "a"'],
    ),
    (
        _container(volumeMounts=[{"name": "nope", "mountPath": "/x"}]),
        ['spec.containers[0].volumeMounts[0].name: Not found: "nope"'],
    ),
    (
        _volume(emptyDir={})
        | _container(
            volumeMounts=[{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x", "subPath": "../y"}]
        ),
        [
            "spec.containers[0].volumeMounts.subPath: Invalid value: \"../y\": must not contain '..'",
            'spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/x": must be unique',
        ],
    ),
    (
        _container(ports=[{"containerPort": 70000}]),
        ["spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
    ),
    (
        _container(ports=[{"containerPort": 80, "name": "web"}, {"containerPort": 81, "name": "web"}]),
        ['spec.containers[0].ports[1].name: Duplicate value: "web"'],
    ),
    (
        _container(ports=[{"containerPort": 80, "protocol": "tcp"}]),
        ['spec.containers[0].ports[0].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"'],
    ),
    (
        {
            "containers": [
                {"name": name, "image": "i", "ports": [{"containerPort": 80, "hostPort": 8080}]} for name in "ab"
            ]
        },
        ['spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//8080"'],
    ),
    (
        _container(ports=[{"containerPort": 80, "hostPort": 8080}]) | {"hostNetwork": True},
        [
            "spec.containers[0].ports[0].hostPort: Invalid value: 8080: "
            "must match `containerPort` when `hostNetwork` is true"
        ],
    ),
    (
        _container() | {"restartPolicy": "Sometimes"},
        ['spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"'],
    ),
    (
        _container(restartPolicyRules=[{"action": "Restart", "exitCodes": {"operator": "Equals", "values": [3]}}]),
        [
            "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
            'spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: "Equals": supported '
            'values: "In", "NotIn"',
        ],
    ),
    (
        _container(restartPolicy="Never", restartPolicyRules=[{"action": "Stop"}, *[{"action": "Restart"}] * 20]),
        [
            "spec.containers[0].restartPolicyRules: Too many: 21: must have at most 20 items",
            'spec.containers[0].restartPolicyRules[0].action: Unsupported value: "Stop": supported values: "Restart", '
            '"RestartAllContainers"',
            *(
                f"spec.containers[0].restartPolicyRules[{n}].exitCodes: Required value: must be specified"
                for n in range(21)
            ),
        ],
    ),
    (
        _container() | {"dnsPolicy": "x"},
        [
            'spec.dnsPolicy: Unsupported value: "x": supported values: "ClusterFirstWithHostNet", "ClusterFirst", '
            '"Default", "None"'
        ],
    ),
    (
        _container() | {"dnsPolicy": "None"},
        ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
    ),
    (
        _container(imagePullPolicy="never"),
        [
            'spec.containers[0].imagePullPolicy: Unsupported value: "never": supported values: "Always", '
            '"IfNotPresent", "Never"'
        ],
    ),
    (
        _container(
            env=[
                {"name": "", "value": "x"},
                {"name": "B", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}},
            ]
        ),
        [
            "spec.containers[0].env[0].name: Required value",
            'spec.containers[0].env[1].valueFrom.fieldRef.fieldPath: Unsupported value: "status.phase": supported '
            'values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", '
            '"spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"',
            'spec.containers[0].env[1].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
        ],
    ),
    (
        _container(resources={"limits": {"cpu": "100m", "memory": "-1"}, "requests": {"cpu": "1"}}),
        [
            'spec.containers[0].resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0',
            'spec.containers[0].resources.requests: Invalid value: "1": must be less than or equal to cpu limit '
            "of 100m",
            'spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0',
        ],
    ),
    (
        _container(livenessProbe={"periodSeconds": -1, "tcpSocket": {"port": 0}}),
        [
            "spec.containers[0].livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
        ],
    ),
    (
        _container(
            livenessProbe={"grpc": {"port": 0, "mode": "tls"}, "terminationGracePeriodSeconds": 0},
            readinessProbe={"httpGet": {"port": "Web_1", "scheme": "FTP", "protocol": "HTTP3"}},
            startupProbe={"tcpSocket": {"port": 1}, "successThreshold": 2},
            lifecycle={"preStop": {"sleep": {"seconds": 31}}, "postStart": {}},
        ),
        [
            "spec.containers[0].lifecycle.postStart: Required value: must specify a handler type",
            "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than "
            "terminationGracePeriodSeconds (30)",
            "spec.containers[0].livenessProbe.grpc.port: Invalid value: 0: must be between 1 and 65535, inclusive",
            'spec.containers[0].livenessProbe.grpc.mode: Unsupported value: "tls": supported values: "Plaintext", "TLS"',
            "spec.containers[0].livenessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0",
            'spec.containers[0].readinessProbe.httpGet.port: Invalid value: "Web_1": must contain only alpha-numeric '
            "characters (a-z, 0-9), and hyphens (-)",
            'spec.containers[0].readinessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", '
            '"HTTPS"',
            'spec.containers[0].readinessProbe.httpGet.protocol: Unsupported value: "HTTP3": supported values: "HTTP1", '
            '"HTTP2"',
            "spec.containers[0].startupProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    ),
    (
        _container(livenessProbe={"exec": {"command": ["a"]}, "httpGet": {"port": 80}}),
        ["spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type"],
    ),
    (
        _container() | {"initContainers": [{"name": "i", "image": "i", "readinessProbe": {"tcpSocket": {"port": 1}}}]},
        [
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without "
            "restartPolicy=Always"
        ],
    ),
    (
        _volume(emptyDir={}, hostPath={"path": "/x"}),
        ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
    ),
    (
        _volume(nfs={"server": "s", "path": "/"}),
        ["spec.volumes[0].nfs: Forbidden: no driver for this kind of volume exists on this machine"],
    ),
    (
        _volume(awsElasticBlockStore={"volumeID": "v"}),
        ["spec.volumes[0].awsElasticBlockStore: Forbidden: no driver for this kind of volume exists on this machine"],
    ),
    (
        _volume(hostPath={"path": "/x/../y", "type": "Dir"}),
        [
            "spec.volumes[0].hostPath.path: Invalid value: \"/x/../y\": must not contain '..'",
            'spec.volumes[0].hostPath.type: Unsupported value: "Dir": supported values: "", "BlockDevice", '
            '"CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"',
        ],
    ),
    (
        _volume(configMap={"name": "c", "items": [{"key": "k", "path": "../x", "mode": 0o1777}]}),
        [
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'",
            "spec.volumes[0].configMap.items[0].mode: Invalid value: 1023: must be a number between 0 and 0777 "
            "(octal), both inclusive",
        ],
    ),
    (
        {"containers": [{"name": "a", "image": "b"}], "volumes": [{"name": "v"}, {"name": "v"}]},
        ['spec.volumes[1].name: Duplicate value: "v"'],
    ),
    (
        _container(securityContext={"runAsUser": -1, "privileged": True, "allowPrivilegeEscalation": False}),
        [
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: "
            "must be between 0 and 2147483647, inclusive",
            'spec.containers[0].securityContext: Invalid value: {"runAsUser":-1,"privileged":true,'
            '"allowPrivilegeEscalation":false}: cannot set `allowPrivilegeEscalation` to false and `privileged` '
            "to true",
        ],
    ),
    (
        _container() | {"hostPID": True, "shareProcessNamespace": True},
        [
            "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID "
            "cannot both be enabled"
        ],
    ),
    (
        _container() | {"activeDeadlineSeconds": 0},
        ["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
    ),
    (
        _container() | {"hostAliases": [{"ip": "x", "hostnames": ["a"]}]},
        ['spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
    ),
    (
        _container(securityContext={"windowsOptions": {}})
        | {"os": {"name": "linux"}, "securityContext": {"windowsOptions": {"hostProcess": True}}},
        [
            "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
            "spec.containers[0].securityContext.windowsOptions: Forbidden: "
            "windows options cannot be set for a linux pod",
        ],
    ),
    (
        _container() | {"ephemeralContainers": [{"name": "e", "image": "e"}]},
        ["spec.ephemeralContainers: Forbidden: cannot be set on create"],
    ),
    (
        _container()
        | _volume(projected={"sources": [
            {"configMap": {"name": "cm", "items": [{"key": "k", "path": "p"}]}},
            {"secret": {"name": "s", "items": [{"key": "k", "path": "p"}]},
             "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"},
                                        "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}},
                                       {"path": "q"}]}},
        ]}),
        [
            'spec.volumes[0].projected: Invalid value: "s": conflicting duplicate paths',
            'spec.volumes[0].projected.sources[1].downwardAPI: Invalid value: "resource": fieldRef and '
            "resourceFieldRef can not be specified simultaneously",
            "spec.volumes[0].projected.sources[1].downwardAPI: Required value: one of fieldRef and resourceFieldRef "
            "is required",
            'spec.volumes[0].projected: Invalid value: "p": conflicting duplicate paths',
            "spec.volumes[0].projected.sources[1]: Forbidden: may not specify more than 1 volume type",
        ],
    ),
    (
        _container()
        | _volume(ephemeral={"volumeClaimTemplate": {
            "metadata": {"name": "n", "labels": {"a": "b"}, "creationTimestamp": None, "finalizers": ["a/b"]},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
        }}),
        [
            "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set for an ephemeral "
            "volume",
            "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.finalizers: Forbidden: cannot be set for an "
            "ephemeral volume",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "messages"), _ROWS)
def test_each_fault_has_kubernetes_message(spec: Document, messages: list[str]) -> None:
    document = {"metadata": {"name": "p", "namespace": "default"}, "spec": spec}
    assert _errors(document) == messages


def test_metadata_is_checked_too() -> None:
    document = {"metadata": {"namespace": "default", "labels": {"a": "b c"}, "finalizers": ["x"]}}
    messages = _errors(document | {"spec": _container()})
    assert messages[0] == "metadata.name: Required value: name or generateName is required"
    assert messages[1].startswith('metadata.labels: Invalid value: "b c": a valid label must be an empty string or')
    assert messages[2] == (
        'metadata.finalizers[0]: Invalid value: "x": name is neither a standard finalizer name nor is it fully '
        "qualified"
    )


Change = Callable[[Document], Any]


def _stored(make_pod: MakePod) -> Document:
    document = make_pod(tolerations=[{"key": "k", "operator": "Exists"}], activeDeadlineSeconds=100)
    kinds.POD.default(document)
    document["metadata"]["resourceVersion"] = "1"
    return document


@pytest.mark.parametrize(
    "change",
    [
        lambda pod: None,
        lambda pod: pod["spec"]["containers"][0].update(image="nginx:2"),
        lambda pod: pod["spec"].update(activeDeadlineSeconds=50),
        lambda pod: pod["spec"]["tolerations"].append({"key": "l", "operator": "Exists"}),
        lambda pod: pod["metadata"].update(labels={"a": "b"}),
    ],
)
def test_some_things_may_change(make_pod: MakePod, change: Change) -> None:
    old = _stored(make_pod)
    new = copy.deepcopy(old)
    change(new)
    assert validate_update(kinds.POD, new, old) == []


@pytest.mark.parametrize(
    ("change", "start"),
    [
        (
            lambda pod: pod["spec"]["containers"][1].update(command=["x"]),
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
            "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
            "previously negative)\n- \tspec.containers[1].command: ['sleep', '1']\n+ \tspec.containers[1].command",
        ),
        (
            lambda pod: pod["spec"]["containers"].pop(),
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        (
            lambda pod: pod["spec"].update(activeDeadlineSeconds=200),
            "spec.activeDeadlineSeconds: Invalid value: 200: must be less than or equal to previous value",
        ),
        (
            lambda pod: pod["spec"].pop("activeDeadlineSeconds"),
            "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
        ),
        (
            lambda pod: pod["spec"]["tolerations"].clear(),
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ),
        (lambda pod: pod["metadata"].update(name="x"), 'metadata.name: Invalid value: "x": field is immutable'),
        (
            lambda pod: pod["metadata"].pop("resourceVersion"),
            "metadata.resourceVersion: Invalid value: 0: must be specified for an update",
        ),
    ],
)
def test_other_things_may_not(make_pod: MakePod, change: Change, start: str) -> None:
    old = _stored(make_pod)
    new = copy.deepcopy(old)
    change(new)
    errors = validate_update(kinds.POD, new, old)
    assert errors[0].message.startswith(start)


def test_a_stored_pod_with_a_volume_that_is_refused_now_may_be_changed(make_pod: MakePod) -> None:
    old = _stored(make_pod)
    old["spec"]["volumes"].append({"name": "far", "nfs": {"server": "s", "path": "/"}})
    new = copy.deepcopy(old)
    new["metadata"]["labels"] = {"seen": "yes"}
    assert validate_update(kinds.POD, new, old) == []
    assert validate_status_update(kinds.POD, new, old) == []
    assert [error.field.rpartition(".")[2] for error in validate(kinds.POD, new)] == ["nfs"]


def test_a_terminated_container_stays_terminated_when_it_may_not_restart(make_pod: MakePod) -> None:
    old = make_pod(restartPolicy="Never")
    old["metadata"]["resourceVersion"] = "1"
    old["status"] = {"containerStatuses": [{"name": "1st", "state": {"terminated": {"exitCode": 0}}}]}
    new = copy.deepcopy(old)
    new["status"]["containerStatuses"][0]["state"] = {"running": {}}
    assert [e.message for e in validate_status_update(kinds.POD, new, old)] == [
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    ]


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: str(kind.kind))
@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_nothing_raises_on_documents_of_right_types(
    documents_of: Callable[[str], st.SearchStrategy[Document]], kind: Kind, data: st.DataObject
) -> None:
    new = data.draw(documents_of(kind.schema))
    old = data.draw(documents_of(kind.schema))
    decoded = check_structure(new, kind.schema)
    assert decoded.type_errors == []
    document = decoded.document
    kind.prepare_create(document)
    kind.default(document)
    validate(kind, document)
    kind.default(old)
    kind.prepare_update(document, old)
    validate_update(kind, document, old)
    kind.prepare_status_update(document, old)
    validate_status_update(kind, document, old)
    kind.warnings(document)
    kind.selectable_fields(document)


def test_amounts_of_a_pod_are_kept_in_thousandths(make_pod: MakePod) -> None:
    resources = {"requests": {"cpu": "0.0001"}, "limits": {"memory": "100.00001"}}
    pod = make_pod(**_container(resources=resources), resources={"limits": {"cpu": "1.0001"}})
    kinds.POD.default(pod)
    assert pod["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "1m", "memory": "100001m"},
        "limits": {"memory": "100001m"},
    }
    assert pod["spec"]["resources"]["limits"] == {"cpu": "1001m"}


def test_empty_texts_are_as_good_as_none(make_pod: MakePod) -> None:
    document = make_pod(restartPolicy="", dnsPolicy="", schedulerName="")
    assert _errors(document) == []
    kinds.POD.default(document)
    shown = [document["spec"][name] for name in ("restartPolicy", "dnsPolicy", "schedulerName")]
    assert shown == ["Always", "ClusterFirst", "default-scheduler"]


def test_fields_of_a_node_are_matched_by_its_one_name(make_pod: MakePod) -> None:
    def errors(**rule: Any) -> list[str]:
        terms = {"nodeSelectorTerms": [{"matchFields": [rule]}]}
        affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
        return [text.partition("matchFields[0].")[2] for text in _errors(make_pod(affinity=affinity))]

    assert errors(key="metadata.name", operator="In", values=["n1"]) == []
    assert errors(key="metadata.foo", operator="Gt", values=["a"]) == [
        'operator: Invalid value: "Gt": not a valid selector operator',
        'key: Invalid value: "metadata.foo": not a valid field selector key',
    ]
    assert errors(key="metadata.name", operator="In", values=["a", "b"]) == [
        "values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
    ]


def test_a_resource_claim_has_one_source(make_pod: MakePod) -> None:
    def error(**sources: str) -> str:
        found = _errors(make_pod(resourceClaims=[{"name": "x", **sources}]))
        return found[0].rpartition(": ")[2] if len(found) == 1 else str(found)

    assert error(resourceClaimName="a") == "[]"
    assert error().endswith("`resourceClaimName`, `resourceClaimTemplateName`")
    assert "at most one of" in error(resourceClaimName="a", resourceClaimTemplateName="b")


@pytest.mark.parametrize("field", ["podIPs", "hostIPs"])
def test_addresses_in_a_status_are_addresses(make_pod: MakePod, field: str) -> None:
    def errors(*texts: str, before: tuple[str, ...] = ()) -> list[str]:
        old, new = make_pod(), make_pod()
        old["status"] = {field: [{"ip": text} for text in before]}
        new["status"] = {field: [{"ip": text} for text in texts]}
        return [error.message for error in kinds.POD.validate_status_update(new, old)]

    assert errors("10.0.0.1", "fd00::1") == []
    (error,) = errors("../")
    assert error.startswith(f'status.{field}[0]: Invalid value: "../": must be a valid IP address')
    assert errors("odd", before=("odd",)) == []
    (error,) = errors("10.0.0.1", "10.0.0.2")
    assert error.endswith("may specify no more than one IP for each IP family")
