"""kubectl's commands on one node, with the answers that a cluster gives.  Its own daemon: one of them drains the node."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.client_pod import build_client_pod
from harness.daemon import Daemon, kubectl_binary, running_daemon
from podhost.linux.machine import read_os_name


@pytest.fixture(scope="module")
def audit_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "audit.log"


@pytest.fixture(scope="module")
def daemon(image_store: Path, audit_log: Path) -> Iterator[Daemon]:
    with running_daemon(image_store, "--audit-log-path", str(audit_log)) as running:
        yield running


@pytest.fixture(scope="module")
def web(daemon: Daemon) -> str:
    daemon.kubectl("apply", "-f", "-", stdin=json.dumps(build_client_pod("web")))
    daemon.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
    return "web"


def ask(daemon: Daemon, line: str, *more: str, **options: Any) -> str:
    return daemon.kubectl(*line.split(), *more, **options).stdout


def refuse(daemon: Daemon, line: str) -> str:
    done = daemon.kubectl(*line.split(), check=False)
    assert done.returncode == 1, done.stdout
    return done.stderr.strip()


def test_objects_are_made_changed_and_shown(daemon: Daemon, web: str, tmp_path: Path) -> None:
    manifest = tmp_path / "web.json"
    document = build_client_pod("web")
    document["metadata"]["labels"]["tier"] = "front"
    manifest.write_text(json.dumps(document))
    differing = daemon.kubectl("diff", "-f", str(manifest), check=False)
    assert (differing.returncode, "+    tier: front" in differing.stdout) == (1, True)
    assert ask(daemon, f"apply -f {manifest}") == "pod/web configured\n"
    assert ask(daemon, f"diff -f {manifest}") == ""
    os.environ["EDITOR"] = "sed -i 's/tier: front/tier: edited/'"
    try:
        assert ask(daemon, "edit pod web") == "pod/web edited\n"
    finally:
        del os.environ["EDITOR"]
    assert ask(daemon, "label pod web a=b") == "pod/web labeled\n"
    assert ask(daemon, "annotate pod web note=x") == "pod/web annotated\n"
    assert ask(daemon, "label pod web a-") == "pod/web unlabeled\n"
    assert ask(daemon, "get pod web --show-labels --no-headers").split()[-1] == "app=web,tier=edited"
    assert ask(daemon, "expose pod web --port=80 --target-port=7000 --name=svc") == "service/svc exposed\n"
    assert ask(daemon, "set selector svc/svc app=web") == "service/svc selector updated\n"
    assert ask(daemon, "patch svc svc --patch", '{"spec": {"sessionAffinity": "ClientIP"}}') == "service/svc patched\n"
    described = ask(daemon, "describe svc svc")
    for line in ("IP Family Policy: *SingleStack", "IP Families: *IPv4", r"Endpoints: *[\d.]+:7000"):
        assert re.search(line, described), described
    replaced = ask(daemon, "get svc svc -o json").replace("ClientIP", "None")
    assert ask(daemon, "replace -f -", stdin=replaced) == "service/svc replaced\n"
    assert re.search(r"QoS Class: +BestEffort", ask(daemon, "describe pod web"))
    assert ask(daemon, "wait --for=jsonpath={.status.phase}=Running pod/web") == "pod/web condition met\n"


@pytest.mark.parametrize(
    ("what", "made"),
    [
        ("namespace other", "namespace/other"),
        ("configmap m --from-literal=a=b", "configmap/m"),
        ("secret generic s --from-literal=a=b", "secret/s"),
        ("serviceaccount bot", "serviceaccount/bot"),
        ("role r --verb=get --resource=pods", "role.rbac.authorization.k8s.io/r"),
        ("rolebinding b --role=r --serviceaccount=default:bot", "rolebinding.rbac.authorization.k8s.io/b"),
        ("clusterrole c --verb=get --resource=nodes", "clusterrole.rbac.authorization.k8s.io/c"),
        ("service clusterip cs --tcp=80", "service/cs"),
        ("service nodeport np --tcp=80", "service/np"),
        ("service externalname en --external-name=a.example", "service/en"),
        ("priorityclass high --value=5", "priorityclass.scheduling.k8s.io/high"),
        ("clusterrolebinding cb --clusterrole=view --user=u", "clusterrolebinding.rbac.authorization.k8s.io/cb"),
        ("service loadbalancer lb --tcp=80:8080", "service/lb"),
        ("secret docker-registry dr --docker-server=r --docker-username=u --docker-password=p", "secret/dr"),
    ],
)
def test_create(daemon: Daemon, what: str, made: str) -> None:
    assert ask(daemon, f"create {what}") == f"{made} created\n"
    assert ask(daemon, f"get {made} -o name") == f"{made}\n"
    assert ask(daemon, f"delete {made}").startswith(f'{made.split("/")[0]} "{made.split("/")[1]}" deleted')


def test_objects_are_set_and_listed(daemon: Daemon, web: str) -> None:
    assert ask(daemon, "set image pod/web server=training/webapp:latest") == "pod/web image updated\n"
    assert "WHO=web\n" in ask(daemon, "set env pod/web --list")
    ask(daemon, "create rolebinding setter --role=r --serviceaccount=default:bot")
    assert ask(daemon, "set subject rolebinding setter --user=u --group=g").endswith("/setter subjects updated\n")
    shown = ask(daemon, "get rolebinding setter -o wide --no-headers").split()
    assert (shown[:2], shown[3:]) == (["setter", "Role/r"], ["u", "g", "default/bot"])
    refused = refuse(daemon, "set resources pod web --limits=cpu=100m")
    assert "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`" in refused
    assert ask(daemon, "create token default --duration=20m").count(".") == 2
    assert "app=web\n" in ask(daemon, "label pod web --list")
    assert re.match(r"NAME +READY +STATUS +RESTARTS +AGE\nweb ", ask(daemon, "get pod web --subresource=status"))
    watched = ask(daemon, "get pods -w -o name --request-timeout=2s", check=False)
    assert watched.startswith("pod/web\n")
    rule: Any = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    role: Any = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": [rule]}
    role["metadata"] = {"name": "rec", "namespace": "default"}
    reconciled = "role.rbac.authorization.k8s.io/rec reconciled\n"
    assert reconciled in ask(daemon, "auth reconcile -f -", stdin=json.dumps(role))
    assert ask(daemon, "delete pod none --ignore-not-found") == ""


def test_every_kind_is_shown_and_described(daemon: Daemon, web: str) -> None:
    kinds = ask(daemon, "api-resources --verbs=list -o name").split()
    assert len(kinds) > 20
    shown = daemon.kubectl("get", ",".join(kinds), "-A", "-o", "wide")
    assert shown.stderr == ""
    for heading in (
        "NAMESPACE +NAME +HOLDER +AGE",
        "NAMESPACE +NAME +READY +STATUS +RESTARTS +AGE +IP +NODE +NOMINATED",
    ):
        assert re.search(heading, shown.stdout)
    described = daemon.kubectl("describe", ",".join(kind for kind in kinds if "metrics" not in kind), "-A")
    assert described.stderr == ""
    assert re.search(r"^Name: +web$", described.stdout, re.MULTILINE)


def test_what_is_not_there_says_so(daemon: Daemon) -> None:
    missing = "error: the server doesn't have a resource type"
    assert refuse(daemon, "rollout status deployment/x") == f'{missing} "deployment"'
    assert refuse(daemon, "scale deployment x --replicas=2") == f'{missing} "deployment"'
    assert refuse(daemon, "create deployment x --image=y") == (
        "error: failed to create deployment: the server could not find the requested resource"
    )
    assert refuse(daemon, "get pod none") == 'Error from server (NotFound): pods "none" not found'
    assert refuse(daemon, "get nonsense") == f'{missing} "nonsense"'


def test_one_can_get_into_a_pod(daemon: Daemon, web: str, tmp_path: Path) -> None:
    assert ask(daemon, "logs web").startswith("listening\n")
    assert ask(daemon, "exec web -- printenv WHO") == "web\n"
    source = tmp_path / "source"
    source.write_bytes(os.urandom(100_000))
    ask(daemon, f"cp {source} web:/tmp/there")
    ask(daemon, f"cp web:/tmp/there {tmp_path / 'back'}")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    ran = ask(
        daemon,
        "run one --image=debian --restart=Never --rm -i --quiet --command -- sh -c",
        "cat; echo run",
        stdin="in\n",
    )
    assert ran == "in\nrun\n"
    assert refuse(daemon, "get pod one").endswith('pods "one" not found')
    debugged = ask(daemon, "debug web --image=debian --target=server -i --quiet -- head -n 1", stdin="typed\n")
    assert debugged == "typed\n"
    copied = ask(daemon, "debug web --copy-to=copy --set-image=server=debian --same-node")
    assert ask(daemon, "get pod copy -o jsonpath={.spec.containers[0].image}") == "debian", copied
    ask(daemon, "delete pod copy --now")


def test_attach_hears_what_port_forward_says(daemon: Daemon, web: str) -> None:
    pipes: dict[str, Any] = {"env": daemon.environment(), "stdout": subprocess.PIPE, "text": True}
    forward = [kubectl_binary(), "port-forward", "--address=127.0.0.1", "pod/web", ":7000"]
    attach = [kubectl_binary(), "attach", "web", "--quiet"]
    with subprocess.Popen(forward, **pipes) as forwarder, subprocess.Popen(attach, **pipes) as listener:
        assert forwarder.stdout is not None
        assert listener.stdout is not None
        try:
            line = forwarder.stdout.readline()
            port = re.fullmatch(r"Forwarding from 127\.0\.0\.1:(\d+) -> 7000\n", line)
            assert port is not None, line
            heard: list[Any] = []
            while not heard:  # until somebody listens, what is said is not heard
                with socket.create_connection(("127.0.0.1", int(port[1])), 20) as connection:
                    connection.sendall(b"over here\n")
                    assert connection.recv(100) == b"over here\n"
                heard, _, _ = select.select([listener.stdout], [], [], 1)
            assert listener.stdout.readline() == "heard over here\n"
        finally:
            for process in (forwarder, listener):
                process.send_signal(signal.SIGTERM)


def test_what_the_server_knows_is_told(daemon: Daemon, web: str) -> None:
    assert "Successfully assigned default/web to" in ask(daemon, "events --for pod/web")
    assert "One of Always, OnFailure" in ask(daemon, "explain pod.spec.restartPolicy")
    assert "This field is immutable" in ask(daemon, "explain rolebinding.roleRef")
    assert "FIELD: targetPort <IntOrString>" in ask(daemon, "explain service.spec.ports.targetPort")
    assert "FIELD: limits <map[string]Quantity>" in ask(daemon, "explain pod.spec.containers.resources.limits")
    assert "KIND:       SelfSubjectAccessReview" in ask(daemon, "explain selfsubjectaccessreview")
    assert {"v1", "events.k8s.io/v1", "rbac.authorization.k8s.io/v1"} <= set(ask(daemon, "api-versions").split())
    assert "podtemplates" in ask(daemon, "api-resources --namespaced -o name")
    assert ask(daemon, "auth can-i create pods") == "yes\n"
    denied = daemon.kubectl("auth", "can-i", "get", "secrets", "--as=nobody", check=False)
    assert (denied.returncode, denied.stdout) == (1, "no\n")
    assert "system:masters" in ask(daemon, "auth whoami")
    assert re.search(r"web +\d+m +\d+Mi", ask(daemon, "top pod web"))
    assert re.search(r"\d+m +\d+% +\d+Mi +\d+%", ask(daemon, "top node"))
    assert "control plane" in ask(daemon, "cluster-info")
    described = ask(daemon, "describe node")
    assert re.search(f"OS Image: +{re.escape(read_os_name())}\n", described)
    assert re.search(r"Lease:\n +HolderIdentity: +\S+\n +AcquireTime: +<unset>\n +RenewTime: +\w{3}, ", described)


def test_proxy_serves_the_api(daemon: Daemon, web: str) -> None:
    command = [kubectl_binary(), "proxy", "--port=0"]
    with subprocess.Popen(command, env=daemon.environment(), stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        address = proxy.stdout.readline().split()[-1]
        try:
            with urllib.request.urlopen(f"http://{address}/api/v1/namespaces/default/pods/web", timeout=20) as answer:
                assert json.load(answer)["metadata"]["name"] == "web"
        finally:
            proxy.send_signal(signal.SIGTERM)


def test_kustomizations_are_applied_and_deleted(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "pod.json").write_text(json.dumps(build_client_pod("kz")))
    generator = "configMapGenerator: [{name: conf, literals: [a=b]}]"
    (tmp_path / "kustomization.yaml").write_text(f"resources: [pod.json]\nnamePrefix: k-\n{generator}\n")
    applied = ask(daemon, f"apply -k {tmp_path}").splitlines()
    assert re.fullmatch(r"configmap/k-conf-\w+ created", applied[0])
    assert applied[1] == "pod/k-kz created"
    assert len(ask(daemon, f"get -k {tmp_path} -o name").splitlines()) == 2
    ask(daemon, f"delete -k {tmp_path}")
    assert refuse(daemon, f"get -k {tmp_path}").count("NotFound") == 2


def test_a_node_is_drained_and_comes_back(daemon: Daemon, web: str) -> None:
    node = ask(daemon, "get node -o jsonpath={.items[0].metadata.name}")
    assert ask(daemon, f"cordon {node}") == f"node/{node} cordoned\n"
    assert "Ready,SchedulingDisabled" in ask(daemon, "get node")
    drained = ask(daemon, f"drain {node} --ignore-daemonsets --force --delete-emptydir-data --timeout=50s")
    assert "pod/web evicted\n" in drained
    assert drained.endswith(f"node/{node} drained\n")
    assert ask(daemon, f"uncordon {node}") == f"node/{node} uncordoned\n"


def test_all_of_it_is_in_the_audit_log(daemon: Daemon, audit_log: Path) -> None:
    daemon.stop()
    events = [json.loads(line) for line in audit_log.read_text().splitlines()]
    assert {event["stage"] for event in events} == {"RequestReceived", "ResponseStarted", "ResponseComplete"}
    evictions = [event for event in events if event.get("objectRef", {}).get("subresource") == "eviction"]
    assert "web" in {event["objectRef"]["name"] for event in evictions}
    assert {event["user"]["username"] for event in evictions} == {"podhost-admin"}
    assert '"bearer' not in audit_log.read_text().lower()
