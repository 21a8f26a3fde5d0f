"""schemathesis reads the served OpenAPI documents and asks for everything that they offer, with a fixed seed.

No answer is a server error, hangs or breaks off; what succeeds is as the document says, and what fails is a Status.
Names are such that some objects exist, and half of the bodies say what they are: else nearly all requests would end
at the first check.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from harness.daemon import Daemon, running_daemon

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # those of schemathesis and what it brings along are not ours
]

ANSWER_TIMEOUT_S = 30
EXAMPLES, EXAMPLES_WITH_BODY = 6, 10
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
ACCEPTED = ("application/json", "application/json", TABLE, "application/yaml", "application/vnd.kubernetes.protobuf")
NAMES = ("fuzz", "fuzz", "kubernetes", "default", "a.b", "-", "%2F")
HONEST_QUERY: dict[str, Any] = {
    "dryRun": "All",
    "fieldManager": "fuzz",
    "fieldSelector": "metadata.name=fuzz",
    "fieldValidation": "Ignore",
    "gracePeriodSeconds": 1,
    "labelSelector": "a notin (b)",
    "limit": 1,
    "limitBytes": 100,
    "pretty": "true",
    "propagationPolicy": "Background",
    "resourceVersion": "0",
    "sinceSeconds": 100,
    "stream": "All",
    "tailLines": 10,
    "timeoutSeconds": 1,
}
"""What a parameter may be."""
ODD_ONES_OUT = {"continue", "orphanDependents", "resourceVersionMatch", "sendInitialEvents"}
SEEDS = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: fuzz}, data: {a: b}}
- {apiVersion: v1, kind: Secret, metadata: {name: fuzz}, stringData: {a: b}}
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: fuzz}}
- {apiVersion: v1, kind: Service, metadata: {name: fuzz}, spec: {selector: {a: b}, ports: [{port: 80}]}}
- {apiVersion: v1, kind: Namespace, metadata: {name: fuzz}}
- {apiVersion: v1, kind: Node, metadata: {name: fuzz}}
- {apiVersion: v1, kind: Event, metadata: {name: fuzz}, involvedObject: {kind: Pod, name: x, namespace: default}}
- apiVersion: v1
  kind: Pod
  metadata: {name: fuzz, labels: {a: b}}
  spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: debian, command: [sleep, "600"]}]}
- apiVersion: v1
  kind: PodTemplate
  metadata: {name: fuzz}
  template: {spec: {containers: [{name: c, image: debian}]}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata: {name: fuzz}
  spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
- apiVersion: v1
  kind: PersistentVolume
  metadata: {name: fuzz}
  spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Mi}, hostPath: {path: /nowhere}, storageClassName: none}
- {apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fuzz}, provisioner: a.b/c}
- {apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: fuzz}, spec: {holderIdentity: me}}
- {apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: fuzz}, handler: runc}
- {apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: fuzz}, value: 1}
- {apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: fuzz}, addressType: IPv4, endpoints: []}
- {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: fuzz}, rules: []}
- {apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: fuzz}, rules: []}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: RoleBinding
  metadata: {name: fuzz}
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: fuzz}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: ClusterRoleBinding
  metadata: {name: fuzz}
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: fuzz}
"""
TIMES = ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime")
TOO_LARGE = "Too large resource version"
CONFORMS = (response_schema_conformance, content_type_conformance)
BOUNDED = settings(
    derandomize=True, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


@dataclass
class Server:
    """The API as an administrator reaches it."""

    url: str
    directory: Path
    user: dict[str, Any]
    cluster: dict[str, Any]
    codes: Counter[int] = field(default_factory=Counter)

    def keep(self, name: str, encoded: str) -> str:
        path = self.directory / name
        path.write_bytes(base64.b64decode(encoded))
        return str(path)

    def options(self) -> dict[str, Any]:
        """For each request: schemathesis and the environment have their own idea of whom to trust."""
        certificate = self.keep("crt", self.user["client-certificate-data"])
        key = self.keep("key", self.user["client-key-data"])
        authority = self.keep("ca", self.cluster["certificate-authority-data"])
        return {"verify": authority, "cert": (certificate, key), "timeout": ANSWER_TIMEOUT_S}


@pytest.fixture(scope="module")
def daemon(image_store: Path) -> Iterator[Daemon]:
    with running_daemon(image_store) as running:
        yield running


@pytest.fixture(scope="module")
def server(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Server:
    config = yaml.safe_load(daemon.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    return Server(cluster["server"], tmp_path_factory.mktemp("tls"), user, cluster)


def read_operations(daemon: Daemon, path: str) -> list[Any]:
    document = daemon.get(f"/openapi/v3/{path}")
    for name in TIMES:  # Go writes null for a time that nobody has set, whatever the document says
        document["components"]["schemas"][name]["nullable"] = True
    return [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]


def prepare(case: Any, name: str, *, honest: bool) -> None:
    """Lead the request to where something is, and keep it short."""
    for parameter, value in (("namespace", "default"), ("name", name)):
        if parameter in (case.path_parameters or {}):
            case.path_parameters[parameter] = value
    if case.query and case.query.get("watch") not in (None, False):
        case.query["timeoutSeconds"] = 1
    if case.query and case.query.get("follow"):
        del case.query["follow"]
    if honest and case.query:
        query = case.query
        case.query = {name: HONEST_QUERY.get(name, query[name]) for name in query if name not in ODD_ONES_OUT}
    if honest and isinstance(case.body, dict) and case.method != "DELETE":
        kind = case.operation.definition.raw["x-kubernetes-group-version-kind"]
        version = f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"]
        metadata = case.body.get("metadata")
        labels = metadata.get("labels") if isinstance(metadata, dict) else None
        case.body |= {
            "apiVersion": version,
            "kind": kind["kind"],
            "metadata": {"name": name} | ({} if labels is None else {"labels": labels}),
        }


def check(case: Any, response: Any, accept: str) -> None:
    text = response.text
    if response.status_code >= 400:
        late = response.status_code == 504 and TOO_LARGE in text
        # What Kubernetes answers to a Binding without a good target, too.
        binding = case.path.endswith(("/binding", "/bindings")) and "target." in text
        assert response.status_code < 500 or late or binding, f"{case.as_curl_command()}: {text}"
        if "json" in response.headers["content-type"][0]:
            status = response.json()
            assert (status["kind"], status["code"]) == ("Status", response.status_code), text
            assert status.get("message"), text
        return
    watching = case.query and case.query.get("watch") not in (None, False)
    deleting = case.method == "DELETE"  # answers with the object where it stays for a while
    if accept == "application/json" and not watching and not deleting:
        case.validate_response(response, checks=CONFORMS)


def run_operation(operation: Any, server: Server, session: requests.Session) -> None:
    options = server.options()
    examples = EXAMPLES_WITH_BODY if operation.body else EXAMPLES

    @settings(BOUNDED, max_examples=examples)
    @given(
        case=operation.as_strategy(),
        name=st.sampled_from(NAMES),
        honest=st.booleans(),
        accept=st.sampled_from(ACCEPTED),
    )
    def ask(case: Any, name: str, honest: bool, accept: str) -> None:
        prepare(case, name, honest=honest)
        response = case.call(base_url=server.url, session=session, headers={"Accept": accept}, **options)
        server.codes[response.status_code] += 1
        check(case, response, accept)

    run: Callable[[], None] = ask
    run()


def find_fault(operation: Any, server: Server, session: requests.Session) -> str:
    """One operation's fault does not hide those of others."""
    try:
        run_operation(operation, server, session)
    except (AssertionError, requests.RequestException, Failure, FailureGroup) as error:
        return f"{operation.label}: {type(error).__name__}: {error}"
    return ""


def test_whatever_the_documents_offer_is_answered(daemon: Daemon, server: Server) -> None:
    daemon.kubectl("create", "-f", "-", stdin=SEEDS)
    documents = daemon.get("/openapi/v3")["paths"]
    operations = [each for path in documents for each in read_operations(daemon, path)]
    with requests.Session() as session:
        # What there is lives until the last.
        ordered = sorted(operations, key=lambda each: each.method == "delete")
        faults = [find_fault(operation, server, session) for operation in ordered]
    assert not any(faults), "\n\n".join(filter(None, faults))
    assert len(operations) > 180
    assert server.codes[200] > 250
    assert server.codes[201] > 10
    assert server.codes[422] > 200
    assert daemon.kubectl("get", "--raw", "/readyz").stdout == "ok"
    log = daemon.log_path.read_text()
    marks = [log.find(word) for word in ("Traceback", " ERROR ") if word in log]
    assert not marks, log[max(0, min(marks) - 500) :][:6000]
