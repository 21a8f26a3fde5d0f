"""A pod calls the API with its own token, and its files follow while it runs, also over a restart of the daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.covers import covers
from harness.daemon import Daemon, running_daemon, wait_until

PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"
ASK = f"""
import json, ssl, sys, urllib.request, urllib.error
place = "{PLACE}"
context = ssl.create_default_context(cafile=place + "/ca.crt")
namespace = open(place + "/namespace").read()
url = "https://kubernetes.default.svc/api/v1/namespaces/" + namespace + "/" + sys.argv[1]
request = urllib.request.Request(url, headers={{"Authorization": "Bearer " + open(place + "/token").read()}})
try: print(urllib.request.urlopen(request, timeout=10, context=context).status)
except urllib.error.HTTPError as error: print(error.code, json.load(error)["message"])
"""


@pytest.fixture
def own_daemon(image_store: Path) -> Iterator[Daemon]:
    with running_daemon(image_store) as running:
        yield running


def pod(name: str, **spec: Any) -> str:
    container = {
        "name": "c",
        "image": "training/webapp",
        "command": ["python3", "-c", "import time; time.sleep(600)"],
        "volumeMounts": [{"name": "info", "mountPath": "/info"}],
    }
    volume = {
        "name": "info",
        "projected": {
            "sources": [
                {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                {"configMap": {"name": "conf"}},
                {"serviceAccountToken": {"path": "vault", "audience": "vault", "expirationSeconds": 600}},
            ]
        },
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"colour": "red"}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": [volume], **spec},
        }
    )


def read(daemon: Daemon, name: str, path: str) -> str:
    return daemon.kubectl("exec", name, "--", "python3", "-c", f"print(open('{path}').read())").stdout.strip()


def ask(daemon: Daemon, name: str, what: str) -> str:
    return daemon.kubectl("exec", name, "--", "python3", "-c", ASK, what).stdout.strip()


@covers(
    "ServiceAccountTokenProjection.audience", "ServiceAccountTokenProjection.expirationSeconds",
    "ServiceAccountTokenProjection.path", "ServiceAccountTokenProjection.user",
    "VolumeProjection.serviceAccountToken",
)  # fmt: skip
@covers(
    "PodSpec.serviceAccountName", "ServiceAccountTokenProjection.audience",
    "ServiceAccountTokenProjection.expirationSeconds", "ServiceAccountTokenProjection.path",
    "ServiceAccountTokenProjection.user", "VolumeProjection.serviceAccountToken",
)  # fmt: skip
def test_a_pod_is_known_to_the_api_and_its_files_follow(own_daemon: Daemon) -> None:
    daemon = own_daemon
    daemon.kubectl("create", "serviceaccount", "robot")
    daemon.kubectl("create", "configmap", "conf", "--from-literal=mode=slow")
    daemon.apply(pod("p", serviceAccountName="robot"))
    daemon.wait("pod/p", "condition=Ready")
    assert ask(daemon, "p", "pods").startswith(
        '403 pods is forbidden: User "system:serviceaccount:default:robot" cannot list resource "pods"'
    )
    daemon.kubectl("create", "rolebinding", "robot-views", "--clusterrole=view", "--serviceaccount=default:robot")
    assert ask(daemon, "p", "pods") == "200"
    assert ask(daemon, "p", "secrets").startswith("403 ")

    vault = read(daemon, "p", "/info/vault")
    spec = {"token": vault, "audiences": ["vault"]}
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    out = daemon.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(review)).stdout
    status = json.loads(out)["status"]
    assert status["audiences"] == ["vault"]
    assert status["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]

    daemon.kubectl("label", "pod", "p", "colour=blue", "--overwrite")
    wait_until(lambda: 'colour="blue"' in read(daemon, "p", "/info/labels"), what="the label in the file")

    daemon.kill()
    daemon.start()
    daemon.kubectl("patch", "configmap", "conf", "-p", '{"data": {"mode": "fast"}}')
    wait_until(lambda: read(daemon, "p", "/info/mode") == "fast", what="the new value in the file")
    assert ask(daemon, "p", "pods") == "200"
    assert read(daemon, "p", "/info/vault") != vault, "a new daemon makes new tokens"

    me = daemon.kubectl("create", "--raw", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "-f", "-", stdin="{}")
    groups = json.loads(me.stdout)["status"]["userInfo"]["groups"]
    assert groups == ["system:masters", "system:authenticated"], "an empty object is of the kind that the URL says"

    token = read(daemon, "p", f"{PLACE}/token")
    evict = ("create", "--raw", "/api/v1/namespaces/default/pods/p/eviction", "-f", "-")
    for name, namespace, message in (
        ("", "default", "name in URL does not match name in Eviction object"),
        ("p", "other", "the namespace of the provided object does not match the namespace sent on the request"),
    ):
        strange = json.loads(EVICTION) | {"metadata": {"name": name, "namespace": namespace}}
        assert message in daemon.kubectl(*evict, stdin=json.dumps(strange), check=False).stderr
    daemon.kubectl(*evict, stdin=EVICTION)
    daemon.kubectl("wait", "--for=delete", "pod/p", "--timeout=60s")
    review["spec"] = {"token": token}
    out = daemon.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(review)).stdout
    assert json.loads(out)["status"] == {"authenticated": False, "user": {}, "error": "invalid bearer token"}


EVICTION = json.dumps(
    {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "default"}}
)
