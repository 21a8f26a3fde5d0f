"""Static pods out of their files: what is added, and what is wrong at which line."""

from __future__ import annotations

import json

import pytest

from podhost.kubelet.static_pod_files import StaticPodFile, read_static_pod

GOOD = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: c, image: nginx}\n"


def read(text: str, place: str = "/etc/m/web.yaml") -> StaticPodFile:
    return read_static_pod(text, place, "n1")


def test_a_pod_gets_what_kubelet_and_api_server_would_add() -> None:
    pod = read(GOOD).pod
    assert pod is not None
    assert (pod["metadata"]["name"], pod["metadata"]["namespace"]) == ("web-n1", "default")
    assert pod["metadata"]["annotations"]["kubernetes.io/config.hash"] == pod["metadata"]["uid"]
    assert pod["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
    assert pod["spec"]["nodeName"] == "n1"
    assert pod["spec"]["tolerations"] == [{"operator": "Exists", "effect": "NoExecute"}]
    assert pod["spec"]["restartPolicy"] == "Always"
    assert pod["status"]["phase"] == "Pending"


def test_the_uid_is_that_of_file_and_content() -> None:
    def uid(text: str, place: str = "/etc/m/web.yaml") -> str:
        pod = read(text, place).pod
        assert pod is not None
        return str(pod["metadata"]["uid"])

    assert uid(GOOD) == uid(GOOD + "# a comment\n") == uid(json.dumps(
        {"spec": {"containers": [{"image": "nginx", "name": "c"}]}, "metadata": {"name": "web"}, "kind": "Pod",
         "apiVersion": "v1"}))  # fmt: skip
    assert len({uid(GOOD), uid(GOOD.replace("nginx", "nginx:1")), uid(GOOD, "/other")}) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "/etc/m/web.yaml:1:1: a static pod's file holds one Pod, not 0 objects"),
        (GOOD + GOOD, "/etc/m/web.yaml:7:1: "),
        (GOOD.replace("image", "imagee") + "---\n" + GOOD, "/etc/m/web.yaml:6:"),
        (GOOD.replace("image", "imagee"), "/etc/m/web.yaml:6:"),
        (GOOD.replace("{name: c,", "{name: c"), "/etc/m/web.yaml:6:"),
        (GOOD.replace("name: c,", "name: C,"), "/etc/m/web.yaml:6:"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
         "/etc/m/web.yaml:1:1: a static pod's file holds a Pod of v1, not ConfigMap of v1"),
        (GOOD + "  imagePullSecrets: [{name: x}]\n", "/etc/m/web.yaml:1:1: static pods may not reference secrets"),
        (GOOD + "  serviceAccountName: x\n", "/etc/m/web.yaml:1:1: static pods may not reference serviceaccounts"),
        (GOOD + "  volumes: [{name: v, projected: {sources: [{configMap: {name: x}}]}}]\n",
         "/etc/m/web.yaml:1:1: static pods may not reference configmaps"),
        (GOOD.replace("nginx}", "nginx, envFrom: [{secretRef: {name: x}}]}"),
         "/etc/m/web.yaml:1:1: static pods may not reference secrets"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(text: str, says: str) -> None:
    found = read(text)
    assert found.pod is None
    assert found.faults[0].startswith(says), found.faults


@pytest.mark.parametrize("rest", [GOOD.replace("web", "other"), "kind: [broken\n", GOOD + "---\n" + GOOD])
def test_only_the_first_document_counts_and_that_is_said(rest: str) -> None:
    found, alone = read("# ours\n---\n" + GOOD + "---\n" + rest), read(GOOD)
    assert found.pod == alone.pod
    assert found.faults == ()
    (warning,) = found.warnings
    assert warning.startswith("/etc/m/web.yaml:9:1: this document is ignored: only the first ")
    assert warning.endswith(f"and this has {2 + rest.count('---')}")
    assert alone.warnings == ()


def test_only_the_first_faults_of_a_file_are_told() -> None:
    faults = read("key: value # foo\n" * 1000).faults
    assert len(faults) == 11
    assert faults[-1] == "/etc/m/web.yaml: and 990 more faults"


def test_a_file_that_is_too_large_is_not_looked_into() -> None:
    found = read(GOOD + "#" * (1 << 20))
    assert (found.pod, found.faults) == (None, ("/etc/m/web.yaml:1:1: the file is larger than 1 MiB",))
