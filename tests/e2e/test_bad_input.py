"""What a user gets wrong: refused with Kubernetes' messages, or shown in the pod's status and events."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from harness.covers import covers
from harness.daemon import Daemon, wait_until
from harness.pods import build_pod, container_status, find_events, wait_for_event, wait_for_waiting

SLEEP = ("sleep", "infinity")


def kubectl(
    daemon: Daemon, namespace: str, *args: str, stdin: str | None = None, check: bool = False
) -> subprocess.CompletedProcess[str]:
    return daemon.kubectl("-n", namespace, *args, stdin=stdin, check=check)


def refuse(daemon: Daemon, namespace: str, manifest: str) -> str:
    """What ``kubectl apply`` says; it must fail and leave nothing."""
    result = kubectl(daemon, namespace, "apply", "-f", "-", stdin=manifest)
    assert result.returncode == 1, result.stdout
    assert not kubectl(daemon, namespace, "get", "pods,services", "-o", "name").stdout
    return result.stderr.strip()


def apply(daemon: Daemon, namespace: str, manifest: str) -> None:
    kubectl(daemon, namespace, "apply", "-f", "-", stdin=manifest, check=True)


def pod_with(spec: str, name: str = "p") -> str:
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {spec}\n"


LEAD = 'Error from server (BadRequest): error when creating "STDIN": Pod in version "v1" cannot be handled as a Pod: '
UNMARSHAL = LEAD + "json: cannot unmarshal "


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "{containers: [{name: c, image: debian, comand: [sleep], imagePullPolice: Never}], bogus: 1}",
            LEAD + 'strict decoding error: unknown field "spec.bogus", unknown field "spec.containers[0].comand", '
            'unknown field "spec.containers[0].imagePullPolice"',
        ),
        (
            "{containers: {name: c, image: debian}}",
            UNMARSHAL + "object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            '{containers: [{name: c, image: debian, ports: [{containerPort: "80"}]}]}',
            UNMARSHAL + "string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            "{containers: [{name: c, image: debian, command: sleep 1}]}",
            UNMARSHAL + "string into Go struct field Container.spec.containers.command of type []string",
        ),
        (
            "{containers: [{name: c, image: debian, env: [{name: X, value: 3}]}]}",
            UNMARSHAL + "number into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            "{containers: [{name: c, image: debian, resources: {limits: {memory: lots}}}]}",
            LEAD + "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
    ids=["unknown-fields", "object-for-list", "string-for-number", "string-for-list", "number-for-string", "quantity"],
)
def test_what_is_no_pod_is_refused_by_the_decoder(daemon: Daemon, namespace: str, spec: str, message: str) -> None:
    assert refuse(daemon, namespace, pod_with(spec)) == message


def test_unknown_fields_are_warned_about_or_dropped_when_validation_is_off(daemon: Daemon, namespace: str) -> None:
    manifest = pod_with("{containers: [{name: c, image: debian, comand: [sleep], command: [sleep, infinity]}]}")
    warned = kubectl(daemon, namespace, "create", "--validate=warn", "-f", "-", stdin=manifest)
    assert warned.returncode == 0
    assert 'Warning: unknown field "spec.containers[0].comand"' in warned.stderr
    assert "comand" not in daemon.pod("p", namespace)["spec"]["containers"][0]
    kubectl(daemon, namespace, "delete", "pod", "p", "--now", check=True)
    ignored = kubectl(daemon, namespace, "create", "--validate=ignore", "-f", "-", stdin=manifest)
    assert (ignored.returncode, ignored.stderr) == (0, "")


@pytest.mark.parametrize(("version", "kind"), [("v1", "Pud"), ("apps/v9", "Deployment"), ("nobody.example/v1", "X")])
def test_unknown_kinds_are_refused(daemon: Daemon, namespace: str, version: str, kind: str) -> None:
    said = refuse(daemon, namespace, f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n")
    assert f'no matches for kind "{kind}" in version "{version}"' in said


NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def test_all_faults_of_a_pod_are_listed_at_once_with_their_paths(daemon: Daemon, namespace: str) -> None:
    spec = """
  restartPolicy: Sometimes
  volumes: [{name: v, emptyDir: {}}, {name: v, emptyDir: {}}, {name: far, nfs: {server: s, path: /}}]
  containers:
  - name: c
    image: debian
    ports:
    - {containerPort: 99999}
    - {name: a, containerPort: 80}
    - {name: a, containerPort: 81}
    - {hostPort: 80, containerPort: 80}
    - {hostPort: 80, containerPort: 82}
  - {name: c, image: debian, volumeMounts: [{name: nope, mountPath: /x}, {name: v, mountPath: /x}]}
  - {image: debian}
  - {name: noimage}
"""
    said = refuse(daemon, namespace, pod_with(spec, "My_Pod")).splitlines()
    assert said[0].strip() == 'The Pod "My_Pod" is invalid:'
    assert {line.removeprefix("* ") for line in said[1:]} == {
        f'metadata.name: Invalid value: "My_Pod": {NAME_RULE}',
        'spec.volumes[1].name: Duplicate value: "v"',
        "spec.volumes[2].nfs: Forbidden: no driver for this kind of volume exists on this machine",
        "spec.containers[0].ports[0].containerPort: Invalid value: 99999: must be between 1 and 65535, inclusive",
        'spec.containers[0].ports[2].name: Duplicate value: "a"',
        'spec.containers[0].ports[4].hostPort: Duplicate value: "TCP//80"',
        'spec.containers[1].volumeMounts[0].name: Not found: "nope"',
        'spec.containers[1].volumeMounts[1].mountPath: Invalid value: "/x": must be unique',
        'spec.containers[1].name: Duplicate value: "c"',
        "spec.containers[2].name: Required value",
        "spec.containers[3].image: Required value",
        'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
    }


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n", 'The Pod "p" is invalid: spec.containers: Required value'),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {}\nspec: {containers: [{name: c, image: debian}]}\n",
            'The Pod "" is invalid: metadata.name: Required value: name or generateName is required',
        ),
        (
            pod_with("{containers: [{name: c, image: debian, imagePullPolicy: Perhaps}]}"),
            'The Pod "p" is invalid: spec.containers[0].imagePullPolicy: Unsupported value: "Perhaps": '
            'supported values: "Always", "IfNotPresent", "Never"',
        ),
        (
            pod_with("{containers: [{name: c, image: ' debian'}]}"),
            'The Pod "p" is invalid: spec.containers[0].image: Invalid value: " debian": '
            "must not have leading or trailing whitespace",
        ),
    ],
    ids=["no-containers", "no-name", "pull-policy", "spaces"],
)
def test_a_single_fault_is_one_line(daemon: Daemon, namespace: str, manifest: str, message: str) -> None:
    created = kubectl(daemon, namespace, "create", "-f", "-", stdin=manifest)
    assert (created.returncode, created.stderr.strip()) == (1, message)


def test_objects_that_exist_or_whose_namespace_does_not_are_said_so(daemon: Daemon, namespace: str) -> None:
    manifest = build_pod("p", "debian", *SLEEP)
    apply(daemon, namespace, manifest)
    again = kubectl(daemon, namespace, "create", "-f", "-", stdin=manifest)
    assert again.stderr.strip() == (
        'Error from server (AlreadyExists): error when creating "STDIN": pods "p" already exists'
    )
    nowhere = kubectl(daemon, "no-such-namespace", "create", "-f", "-", stdin=manifest)
    assert nowhere.stderr.strip().endswith(
        '(NotFound): error when creating "STDIN": namespaces "no-such-namespace" not found'
    )
    for verb in (("get", "pod"), ("delete", "pod"), ("logs",), ("describe", "pod")):
        missing = kubectl(daemon, namespace, *verb, "absent")
        assert missing.returncode == 1
        assert 'pods "absent" not found' in missing.stderr


def test_immutable_fields_and_broken_patches_are_refused(daemon: Daemon, namespace: str) -> None:
    apply(daemon, namespace, build_pod("p", "debian", *SLEEP))
    allowed = (
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
        "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
    )
    changed = kubectl(daemon, namespace, "apply", "-f", "-", stdin=build_pod("p", "debian", "sleep", "1"))
    assert f'The Pod "p" is invalid: spec: Forbidden: {allowed}' in changed.stderr
    patched = kubectl(daemon, namespace, "patch", "pod", "p", "-p", '{"spec": {"restartPolicy": "Never"}}')
    assert allowed in patched.stderr
    wrong = kubectl(daemon, namespace, "patch", "pod", "p", "-p", '{"spec": {"containers": 7}}')
    assert "cannot unmarshal number into Go struct field PodSpec.spec.containers" in wrong.stderr
    absent = '[{"op": "remove", "path": "/metadata/labels/zz"}]'
    removed = kubectl(daemon, namespace, "patch", "pod", "p", "--type=json", "-p", absent)
    assert "the server rejected our request due to an error in our request" in removed.stderr
    for result in (changed, patched, wrong, removed):
        assert result.returncode == 1
    assert daemon.pod("p", namespace)["metadata"]["generation"] == 1


def test_kubectls_own_creators_and_editors_work(daemon: Daemon, namespace: str, tmp_path: Path) -> None:
    """They send protobuf, merge patches, strategic merge patches and JSON patches."""
    (tmp_path / "file").write_text("content")
    for arguments in (
        ("configmap", "cm", "--from-literal=a=b", f"--from-file={tmp_path / 'file'}"),
        ("secret", "generic", "s", "--from-literal=a=b"),
        ("secret", "docker-registry", "r", "--docker-server=h:1", "--docker-username=u", "--docker-password=p"),
        ("service", "clusterip", "ci", "--tcp=80:8080"),
        ("service", "nodeport", "np", "--tcp=80:8080"),
        ("serviceaccount", "robot"),
    ):
        created = kubectl(daemon, namespace, "create", *arguments, check=True)
        assert created.stdout.strip().endswith(" created")
    duplicate = kubectl(daemon, namespace, "create", "configmap", "cm")
    assert duplicate.stderr.strip() == 'error: failed to create configmap: configmaps "cm" already exists'
    kubectl(daemon, namespace, "run", "p", "--image=debian", "--labels=app=p", "--", *SLEEP, check=True)
    kubectl(daemon, namespace, "label", "pod", "p", "tier=front", check=True)
    taken = kubectl(daemon, namespace, "label", "pod", "p", "tier=back")
    assert "error: 'tier' already has a value (front), and --overwrite is false" in taken.stderr
    kubectl(daemon, namespace, "label", "pod", "p", "tier=back", "--overwrite", check=True)
    kubectl(daemon, namespace, "label", "pod", "p", "app-", check=True)
    kubectl(daemon, namespace, "annotate", "pod", "p", "example.com/note=x", check=True)
    kubectl(daemon, namespace, "patch", "cm", "cm", "--type=merge", "-p", '{"data": {"a": null, "z": "1"}}', check=True)
    kubectl(daemon, namespace, "patch", "pod", "p", "--type=json",
            "-p", '[{"op": "add", "path": "/metadata/labels/j", "value": "1"}]', check=True)  # fmt: skip
    metadata = daemon.pod("p", namespace)["metadata"]
    assert metadata["labels"] == {"tier": "back", "j": "1"}
    assert metadata["annotations"]["example.com/note"] == "x"
    live = json.loads(kubectl(daemon, namespace, "get", "cm", "cm", "-o", "json").stdout)
    assert live["data"] == {"file": "content", "z": "1"}
    live["data"] = {"new": "only"}
    kubectl(daemon, namespace, "replace", "-f", "-", stdin=json.dumps(live), check=True)
    stale = kubectl(daemon, namespace, "replace", "-f", "-", stdin=json.dumps(live))
    assert "(Conflict)" in stale.stderr
    assert "the object has been modified; please apply your changes to the latest version and try again" in stale.stderr
    kubectl(daemon, namespace, "delete", "pod/p", "cm/cm", "svc/np", "--now", check=True)


def test_service_faults_are_listed_and_node_ports_are_given_once(daemon: Daemon, namespace: str) -> None:
    manifest = """
apiVersion: v1
kind: Service
metadata: {name: 1svc}
spec:
  type: Loadbalancer
  clusterIP: 1.2.3
  ports: [{port: 80}, {port: 80}, {name: B_, port: 99999, protocol: XYZ}]
"""
    said = refuse(daemon, namespace, manifest)
    for fault in (
        'metadata.name: Invalid value: "1svc": a DNS-1035 label must consist of',
        "spec.ports[0].name: Required value",
        'spec.ports[2].name: Invalid value: "B_": a lowercase RFC 1123 label must consist of',
        "spec.ports[2].port: Invalid value: 99999: must be between 1 and 65535, inclusive",
        'spec.ports[2].protocol: Unsupported value: "XYZ": supported values: "SCTP", "TCP", "UDP"',
        'spec.clusterIPs[0]: Invalid value: "1.2.3": must be a valid IP address',
        'spec.type: Unsupported value: "Loadbalancer": supported values: "ClusterIP", "ExternalName", "LoadBalancer"',
        "spec.ports[1]: Duplicate value: ",
    ):
        assert fault in said
    kubectl(daemon, namespace, "create", "service", "nodeport", "first", "--tcp=80:80", check=True)
    first = json.loads(kubectl(daemon, namespace, "get", "service", "first", "-o", "json").stdout)["spec"]
    port = first["ports"][0]["nodePort"]
    taken = kubectl(daemon, namespace, "create", "service", "nodeport", "second", "--tcp=80:80", f"--node-port={port}")
    assert taken.stderr.strip().endswith(
        f'Service "second" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated'
    )
    outside = kubectl(daemon, namespace, "create", "service", "nodeport", "second", "--tcp=80:80", "--node-port=80")
    assert re.search(
        r"nodePort: Invalid value: 80: provided port is not in the valid range\. The range of valid ports is \d+-\d+",
        outside.stderr,
    )
    address = f"apiVersion: v1\nkind: Service\nmetadata: {{name: second}}\nspec: {{clusterIP: {first['clusterIP']}, ports: [{{port: 80}}]}}"
    same = kubectl(daemon, namespace, "apply", "-f", "-", stdin=address)
    assert "provided IP is already allocated" in same.stderr
    # A refused Service holds nothing: once the first is gone, its port is free.
    kubectl(daemon, namespace, "delete", "service", "first", check=True)
    kubectl(
        daemon, namespace, "create", "service", "nodeport", "second", "--tcp=80:80", f"--node-port={port}", check=True
    )


def test_bad_keys_of_config_maps_and_secrets_are_refused(daemon: Daemon, namespace: str) -> None:
    keys = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {"a/b": x, "..": "1"}\n'
    said = kubectl(daemon, namespace, "apply", "-f", "-", stdin=keys).stderr
    assert 'data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric characters' in said
    assert 'data[..]: Invalid value: ".."' in said
    secret = 'apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: "not base64!"}\n'
    assert "illegal base64 data at input byte 3" in kubectl(daemon, namespace, "apply", "-f", "-", stdin=secret).stderr


def test_an_invalid_image_name_is_shown_while_its_neighbour_runs(daemon: Daemon, namespace: str) -> None:
    spec = json.loads(build_pod("p", "debian:Bad:Tag"))
    spec["spec"]["containers"].append({"name": "good", "image": "debian", "command": list(SLEEP)})
    apply(daemon, namespace, json.dumps(spec))
    text = 'Failed to apply default image tag "debian:Bad:Tag": couldn\'t parse image name "debian:Bad:Tag": '
    assert wait_for_waiting(daemon, namespace, "p", "InvalidImageName") == text + "invalid reference format"
    wait_for_event(daemon, namespace, "p", "InspectFailed", text)
    wait_for_event(daemon, namespace, "p", "Failed", "Error: InvalidImageName")
    wait_until(lambda: container_status(daemon, namespace, "p", "good").get("ready"), what="the neighbour")
    assert "InvalidImageName" in kubectl(daemon, namespace, "get", "pod", "p").stdout


@covers("Container.imagePullPolicy")
def test_an_absent_image_is_not_pulled_with_policy_never(daemon: Daemon, namespace: str) -> None:
    spec = json.loads(build_pod("p", "nowhere/absent"))
    spec["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    apply(daemon, namespace, json.dumps(spec))
    text = 'Container image "nowhere/absent" is not present with pull policy of Never'
    assert wait_for_waiting(daemon, namespace, "p", "ErrImageNeverPull") == text
    wait_for_event(daemon, namespace, "p", "ErrImageNeverPull", text)


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        ("/no/such/command", 'exec: "/no/such/command": stat /no/such/command: no such file or directory'),
        ("nosuchcommand", 'exec: "nosuchcommand": executable file not found in $PATH'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_a_command_that_cannot_run_is_a_start_error(daemon: Daemon, namespace: str, command: str, cause: str) -> None:
    apply(daemon, namespace, build_pod("p", "debian", command, restartPolicy="Never"))
    kubectl(daemon, namespace, "wait", "--for=jsonpath={.status.phase}=Failed", "pod/p", "--timeout=30s", check=True)
    terminated = container_status(daemon, namespace, "p")["state"]["terminated"]
    assert terminated["reason"] == "StartError"
    assert terminated["startedAt"] == "1970-01-01T00:00:00Z"
    assert cause in terminated["message"]
    assert cause in wait_for_event(daemon, namespace, "p", "Failed", "Error: ")
    assert "StartError" in kubectl(daemon, namespace, "get", "pod", "p").stdout
    assert "Started" not in [reason for _, reason, _ in find_events(daemon, namespace, "p")]


def test_a_crashing_container_backs_off_and_keeps_its_last_words(daemon: Daemon, namespace: str) -> None:
    script = "echo attempt; echo why > /dev/termination-log; exit 3"
    apply(daemon, namespace, build_pod("p", "debian", "sh", "-c", script))
    uid = daemon.pod("p", namespace)["metadata"]["uid"]
    wait_until(
        lambda: (container_status(daemon, namespace, "p").get("state") or {}).get("waiting"), what="the first back-off"
    )
    waiting = wait_for_waiting(daemon, namespace, "p", "CrashLoopBackOff")
    assert waiting == f"back-off 10s restarting failed container=c pod=p_{namespace}({uid})"
    status = container_status(daemon, namespace, "p")
    assert status["restartCount"] == 1
    assert status["ready"] is False
    last = status["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"], last["message"]) == (3, "Error", "why\n")
    text = f"Back-off restarting failed container c in pod p_{namespace}({uid})"
    assert wait_for_event(daemon, namespace, "p", "BackOff") == text
    assert kubectl(daemon, namespace, "logs", "p", "--previous").stdout == "attempt\n"
    assert re.search(r"CrashLoopBackOff\s+1 \(\d+s ago\)", kubectl(daemon, namespace, "get", "pod", "p").stdout)


def test_missing_configuration_waits_and_comes_right_when_it_is_made(daemon: Daemon, namespace: str) -> None:
    def container(**fields: object) -> dict[str, object]:
        return {"name": "c", "image": "debian", "command": list(SLEEP), **fields}

    def pod(name: str, one: dict[str, object], **spec: object) -> dict[str, object]:
        document: dict[str, object] = json.loads(build_pod(name, "debian", containers=[one], **spec))
        return document

    key = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}}
    secret = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    items = [
        pod("env", container(envFrom=[{"configMapRef": {"name": "cm"}}])),
        pod("key", container(env=[key])),
        pod("secret", container(env=[secret])),
        pod(
            "volume",
            container(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
            volumes=[{"name": "v", "configMap": {"name": "cm"}}],
        ),
    ]
    apply(daemon, namespace, json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    for name, cause in (
        ("env", 'configmap "cm" not found'),
        ("key", 'configmap "cm" not found'),
        ("secret", 'secret "s" not found'),
    ):
        assert wait_for_waiting(daemon, namespace, name, "CreateContainerConfigError") == cause
        wait_for_event(daemon, namespace, name, "Failed", f"Error: {cause}")
    mount = 'MountVolume.SetUp failed for volume "v" : configmap "cm" not found'
    assert wait_for_event(daemon, namespace, "volume", "FailedMount") == mount
    assert wait_for_waiting(daemon, namespace, "volume", "ContainerCreating") == ""

    kubectl(daemon, namespace, "create", "configmap", "cm", "--from-literal=other=1", check=True)
    wait_until(
        lambda: (
            container_status(daemon, namespace, "key")["state"].get("waiting", {}).get("message")
            == f"couldn't find key k in ConfigMap {namespace}/cm"
        ),
        what="the missing key to be named",
    )
    kubectl(daemon, namespace, "patch", "configmap", "cm", "-p", '{"data": {"k": "1"}}', check=True)
    kubectl(daemon, namespace, "create", "secret", "generic", "s", "--from-literal=k=1", check=True)
    kubectl(daemon, namespace, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=30s", check=True)


@pytest.mark.parametrize(
    ("path", "kind", "cause"),
    [
        ("/etc/passwd", "Directory", "hostPath type check failed: /etc/passwd is not a directory, it's a File"),
        ("/etc", "File", "hostPath type check failed: /etc is not a file, it's a Directory"),
        ("/no/such/place", "Directory", "hostPath /no/such/place doesn't exist"),
        ("/etc/passwd", "Socket", "hostPath type check failed: /etc/passwd is not a socket file, it's a File"),
    ],
)
def test_a_host_path_of_another_type_is_not_mounted(
    daemon: Daemon, namespace: str, path: str, kind: str, cause: str
) -> None:
    document = json.loads(
        build_pod("p", "debian", *SLEEP, volumes=[{"name": "v", "hostPath": {"path": path, "type": kind}}])
    )
    document["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/v"}]
    apply(daemon, namespace, json.dumps(document))
    assert wait_for_event(daemon, namespace, "p", "FailedMount") == f'MountVolume.SetUp failed for volume "v" : {cause}'
    kubectl(daemon, namespace, "delete", "pod", "p", "--timeout=20s", check=True)


def test_a_host_port_in_use_is_said_so(daemon: Daemon, namespace: str) -> None:
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        free = holder.getsockname()[1]
    for name in ("first", "second"):
        document = json.loads(build_pod(name, "debian", *SLEEP))
        document["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": free}]
        apply(daemon, namespace, json.dumps(document))
    kubectl(daemon, namespace, "wait", "--for=condition=Ready", "pod/first", "--timeout=30s", check=True)
    text = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    assert wait_for_event(daemon, namespace, "second", "FailedScheduling").startswith(text)
    assert daemon.pod("second", namespace)["status"]["phase"] == "Pending"
    # It is bound as soon as the port is free.
    kubectl(daemon, namespace, "delete", "pod", "first", "--now", check=True)
    kubectl(daemon, namespace, "wait", "--for=condition=Ready", "pod/second", "--timeout=30s", check=True)


def test_a_host_port_that_another_program_holds_is_said_so(daemon: Daemon, namespace: str) -> None:
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        holder.listen()
        port = holder.getsockname()[1]
        document = json.loads(build_pod("p", "debian", *SLEEP))
        document["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": port}]
        apply(daemon, namespace, json.dumps(document))
        message = wait_for_event(daemon, namespace, "p", "FailedCreatePodSandBox")
        prefix = f"Failed to create pod sandbox: cannot publish host port {port}/TCP: "
        assert message.startswith(prefix)
        assert f"(pid {os.getpid()}) listens on it" in message
    kubectl(daemon, namespace, "wait", "--for=condition=Ready", "pod/p", "--timeout=30s", check=True)


def test_a_pod_that_does_not_fit_stays_pending_with_the_reason(daemon: Daemon, namespace: str) -> None:
    spec = json.loads(build_pod("p", "debian", *SLEEP))
    spec["spec"]["containers"][0]["resources"] = {"requests": {"memory": "999Ti"}}
    apply(daemon, namespace, json.dumps(spec))
    assert wait_for_event(daemon, namespace, "p", "FailedScheduling").startswith(
        "0/1 nodes are available: 1 Insufficient memory."
    )
