"""Images out of a real registry on loopback: with and without credentials, wrong digests, broken connections.

The store is the module's own, so that each test begins with an image that is not there.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.covers import covers
from harness.daemon import Daemon, running_daemon, wait_until
from harness.pods import (
    PAUSE_CONFIG,
    build_pause_layer,
    build_pod,
    container_status,
    find_events,
    list_unfinished,
    wait_for_event,
    wait_for_waiting,
)
from harness.terminal import podhost_on_terminal
from registry import PASSWORD, USER, Registry, SpoilingProxy, digest_of, make_tar
from registry import proxy as proxy
from registry import registry as registry
from registry import registry_with_password as registry_with_password

_BIG = 3 << 20


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("image-store")


@pytest.fixture(scope="module")
def daemon(own_store: Path) -> Iterator[Daemon]:
    with running_daemon(own_store) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_half_made_stays(own_store: Path, daemon: Daemon) -> Iterator[None]:
    yield
    assert wait_until(lambda: not list_unfinished(own_store), what="the staging area to be empty")


def push(registry: Registry, *more_layers: bytes) -> str:
    """A fresh repository whose image runs; its reference without the host."""
    repository = f"test/{uuid.uuid4().hex[:8]}"
    layers = [build_pause_layer(), unique_layer(repository), *more_layers]
    registry.push_image(repository, "1", layers, config=PAUSE_CONFIG)
    return f"{repository}:1"


def unique_layer(repository: str) -> bytes:
    """The layer of a pushed image that no other image has: no test before has put it into the store."""
    return make_tar(("unique", repository.encode()))


def big_layer() -> bytes:
    return make_tar(("big", os.urandom(_BIG)))


def blob_digest(layer: bytes) -> str:
    """Digest of the blob as which a layer is pushed."""
    return digest_of(gzip.compress(layer, 1, mtime=0))


def create_pod(daemon: Daemon, namespace: str, manifest: str) -> None:
    daemon.kubectl("-n", namespace, "apply", "-f", "-", stdin=manifest)


def wait_ready(daemon: Daemon, namespace: str, name: str) -> None:
    daemon.kubectl("-n", namespace, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=40s")


def create_pull_secret(daemon: Daemon, namespace: str, name: str, host: str, password: str = PASSWORD) -> None:
    daemon.kubectl(
        "-n", namespace, "create", "secret", "docker-registry", name,
        f"--docker-server={host}", f"--docker-username={USER}", f"--docker-password={password}",
    )  # fmt: skip


def test_an_image_is_pulled_and_its_pod_runs(daemon: Daemon, namespace: str, registry: Registry) -> None:
    reference = push(registry)
    image = f"{registry.host}/{reference}"
    create_pod(daemon, namespace, build_pod("p", image))
    wait_ready(daemon, namespace, "p")
    reasons = [reason for _, reason, _ in find_events(daemon, namespace, "p")]
    assert reasons == ["Scheduled", "Pulling", "Pulled", "Created", "Started"]
    pulled = wait_for_event(daemon, namespace, "p", "Pulled")
    assert pulled.startswith(f'Successfully pulled image "{image}" in ')
    status = container_status(daemon, namespace, "p")
    assert status["image"] == image
    repository = image.rpartition(":")[0]
    assert status["imageID"].startswith(f"{repository}@sha256:")

    by_digest = status["imageID"]
    create_pod(daemon, namespace, build_pod("pinned", by_digest))
    wait_ready(daemon, namespace, "pinned")
    present = wait_for_event(daemon, namespace, "pinned", "Pulled")
    assert present == f'Container image "{by_digest}" already present on machine and can be accessed by the pod'


def test_an_image_that_does_not_exist_is_said_so(daemon: Daemon, namespace: str, registry: Registry) -> None:
    missing = f"{registry.host}/nobody/nothing:7"
    wrong_digest = f"{registry.host}/{push(registry).partition(':')[0]}@{digest_of(b'other')}"
    create_pod(daemon, namespace, build_pod("tag", missing))
    create_pod(daemon, namespace, build_pod("digest", wrong_digest))
    for name, image in (("tag", missing), ("digest", wrong_digest)):
        message = wait_for_event(daemon, namespace, name, "Failed", "Failed to pull image")
        assert message == (
            f'Failed to pull image "{image}": failed to pull and unpack image "{image}": '
            f'failed to resolve reference "{image}": {image}: not found'
        )
        waiting = wait_for_waiting(daemon, namespace, name, "ImagePullBackOff")
        assert waiting.startswith(f'Back-off pulling image "{image}": ErrImagePull: ')
        events = find_events(daemon, namespace, name)
        assert ("Warning", "Failed", "Error: ErrImagePull") in events
        assert ("Warning", "Failed", "Error: ImagePullBackOff") in events
        assert ("Normal", "BackOff", f'Back-off pulling image "{image}"') in events
    logs = daemon.kubectl("-n", namespace, "logs", "tag", check=False).stderr
    assert 'container "c" in pod "tag" is waiting to start: trying and failing to pull image' in logs
    assert "ImagePullBackOff" in daemon.kubectl("-n", namespace, "get", "pods").stdout


@covers("LocalObjectReference.name", "PodSpec.imagePullSecrets")
def test_credentials_of_a_pull_secret_are_needed_and_used(
    daemon: Daemon, namespace: str, registry_with_password: Registry
) -> None:
    registry = registry_with_password
    image = f"{registry.host}/{push(registry)}"
    create_pull_secret(daemon, namespace, "wrong", registry.host, "a guess")
    create_pull_secret(daemon, namespace, "right", registry.host)
    create_pod(daemon, namespace, build_pod("without", image))
    create_pod(daemon, namespace, build_pod("wrong", image, imagePullSecrets=[{"name": "wrong"}]))
    create_pod(daemon, namespace, build_pod("absent", image, imagePullSecrets=[{"name": "no-such-secret"}]))
    for name in ("without", "wrong", "absent"):
        message = wait_for_event(daemon, namespace, name, "Failed", "Failed to pull image")
        assert "pull access denied, repository does not exist or may require authorization" in message
        assert "authentication required" in message
        wait_for_waiting(daemon, namespace, name, "ImagePullBackOff")
    wait_for_event(daemon, namespace, "absent", "FailedToRetrieveImagePullSecret", "no-such-secret")

    secrets = [{"name": "wrong"}, {"name": "right"}]
    create_pod(daemon, namespace, build_pod("right", image, imagePullSecrets=secrets))
    wait_ready(daemon, namespace, "right")
    create_pod(daemon, namespace, build_pod("unneeded", image, imagePullSecrets=[{"name": "no-such-secret"}]))
    wait_ready(daemon, namespace, "unneeded")
    wait_for_event(daemon, namespace, "unneeded", "FailedToRetrieveImagePullSecret", "no-such-secret")


def test_pull_secrets_of_the_service_account_reach_its_pods(
    daemon: Daemon, namespace: str, registry_with_password: Registry
) -> None:
    registry = registry_with_password
    image = f"{registry.host}/{push(registry)}"
    create_pull_secret(daemon, namespace, "regcred", registry.host)
    wait_until(
        lambda: "default" in daemon.kubectl("-n", namespace, "get", "serviceaccounts").stdout,
        what="the namespace's account",
    )
    patch = '{"imagePullSecrets": [{"name": "regcred"}]}'
    daemon.kubectl("-n", namespace, "patch", "serviceaccount", "default", "-p", patch)
    create_pod(daemon, namespace, build_pod("p", image))
    assert daemon.pod("p", namespace)["spec"]["imagePullSecrets"] == [{"name": "regcred"}]
    wait_ready(daemon, namespace, "p")


def test_podhost_image_pull_uses_the_credentials_of_the_calling_user(
    daemon: Daemon, registry_with_password: Registry
) -> None:
    registry = registry_with_password
    image = f"{registry.host}/{push(registry)}"
    refused = daemon.podhost("image", "pull", image, check=False)
    assert refused.returncode == 1
    assert f"cannot pull '{image}'" in refused.stderr
    assert "authentication required" in refused.stderr
    assert "Internal error" not in refused.stderr
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    config = daemon.root / ".docker" / "config.json"
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps({"auths": {registry.host: {"auth": token}}}))
    pulled = daemon.podhost("image", "pull", image)
    assert image in pulled.stdout
    assert "downloading" in pulled.stderr


def test_a_registry_that_refuses_leaves_other_containers_and_pods_alone(
    daemon: Daemon, namespace: str, registry: Registry
) -> None:
    good = f"{registry.host}/{push(registry)}"
    refused = "127.0.0.1:9/nobody/listens:1"
    spec = json.loads(build_pod("both", refused))
    spec["spec"]["containers"].append({"name": "good", "image": good})
    create_pod(daemon, namespace, json.dumps(spec))
    create_pod(daemon, namespace, build_pod("other", good))
    wait_ready(daemon, namespace, "other")
    message = wait_for_event(daemon, namespace, "both", "Failed", "Failed to pull image")
    assert message.endswith("dial tcp 127.0.0.1:9: connect: connection refused")
    wait_for_waiting(daemon, namespace, "both", "ImagePullBackOff")
    wait_until(lambda: container_status(daemon, namespace, "both", "good").get("ready"), what="the good container")
    conditions = {c["type"]: c for c in daemon.pod("both", namespace)["status"]["conditions"]}
    assert conditions["Ready"]["status"] == "False"
    assert conditions["Ready"]["message"] == "containers with unready status: [c]"


def test_a_pull_that_breaks_half_way_resumes_with_what_is_missing(
    daemon: Daemon, namespace: str, proxy: SpoilingProxy
) -> None:
    layer = big_layer()
    reference = push(proxy.target, layer)
    small, big = blob_digest(unique_layer(reference.removesuffix(":1"))), blob_digest(layer)
    proxy.break_after[big] = _BIG // 2
    image = f"{proxy.host}/{reference}"
    create_pod(daemon, namespace, build_pod("p", image))
    message = wait_for_event(daemon, namespace, "p", "Failed", "Failed to pull image")
    assert "unexpected EOF" in message
    wait_for_waiting(daemon, namespace, "p", "ImagePullBackOff")
    first = proxy.blob_requests()
    assert small in first
    proxy.break_after.clear()
    proxy.requests.clear()
    begun = time.monotonic()
    wait_ready(daemon, namespace, "p")
    assert time.monotonic() - begun < 15, "the first retry comes after about 10 s"
    assert big in proxy.blob_requests()
    assert small not in proxy.blob_requests(), "what had come whole is not fetched again"
    assert "Started" in [reason for _, reason, _ in find_events(daemon, namespace, "p")]


def test_a_blob_with_another_digest_is_refused_and_fetched_anew_by_the_next_pull(
    daemon: Daemon, namespace: str, proxy: SpoilingProxy
) -> None:
    layer = big_layer()
    reference = push(proxy.target, layer)
    image = f"{proxy.host}/{reference}"
    bad = blob_digest(layer)
    proxy.corrupt.add(bad)
    create_pod(daemon, namespace, build_pod("p", image))
    message = wait_for_event(daemon, namespace, "p", "Failed", "Failed to pull image")
    assert "digest" in message.lower()
    assert bad in message or "did not match" in message
    wait_for_waiting(daemon, namespace, "p", "ImagePullBackOff")
    assert reference not in daemon.podhost("image", "ls", "-q").stdout
    proxy.corrupt.clear()
    # A user who has mended the cause need not wait for the back-off.
    daemon.podhost("image", "pull", image)
    daemon.kubectl("-n", namespace, "delete", "pod", "p", "--now")
    create_pod(daemon, namespace, build_pod("p", image))
    wait_ready(daemon, namespace, "p")


def test_pods_of_one_image_share_a_pull_and_deletion_ends_it(
    daemon: Daemon, namespace: str, proxy: SpoilingProxy
) -> None:
    reference = push(proxy.target, big_layer())
    image = f"{proxy.host}/{reference}"
    proxy.hold.clear()
    for name in ("one", "two", "deleted"):
        create_pod(daemon, namespace, build_pod(name, image))
    wait_until(lambda: proxy.blob_requests(), what="the pull to begin")
    daemon.kubectl("-n", namespace, "delete", "pod", "deleted", "--timeout=10s")
    proxy.hold.set()
    wait_ready(daemon, namespace, "one")
    wait_ready(daemon, namespace, "two")
    fetched = proxy.blob_requests()
    assert len(fetched) == len(set(fetched))

    alone = f"{proxy.host}/{push(proxy.target, big_layer())}"
    proxy.hold.clear()
    proxy.requests.clear()
    create_pod(daemon, namespace, build_pod("alone", alone))
    wait_until(lambda: proxy.blob_requests(), what="the pull to begin")
    daemon.kubectl("-n", namespace, "delete", "pod", "alone", "--timeout=10s")
    # The fixture sees that nothing of the abandoned pull stays.


def test_a_daemon_killed_during_a_pull_leaves_nothing_half_made(
    own_store: Path, namespace: str, daemon: Daemon, proxy: SpoilingProxy
) -> None:
    image = f"{proxy.host}/{push(proxy.target, big_layer())}"
    proxy.hold.clear()
    create_pod(daemon, namespace, build_pod("p", image))
    wait_until(lambda: proxy.blob_requests(), what="the pull to begin")
    daemon.kill()
    proxy.hold.set()
    daemon.start()
    wait_ready(daemon, namespace, "p")
    assert not list_unfinished(own_store)


def test_an_image_for_another_architecture_is_said_so(daemon: Daemon, namespace: str, registry: Registry) -> None:
    repository = f"test/{uuid.uuid4().hex[:8]}"
    digest = registry.push_image(repository, "s390x", [make_tar(("f", b"x"))], architecture="s390x")
    platform = {"architecture": "s390x", "os": "linux"}
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest,
                "size": 2,
                "platform": platform,
            }
        ],
    }
    registry.push_manifest(repository, "1", index)
    create_pod(daemon, namespace, build_pod("p", f"{registry.host}/{repository}:1"))
    wait_for_event(daemon, namespace, "p", "Failed", "no match for platform in manifest")


def test_up_draws_a_bar_while_it_waits_for_an_image(
    daemon: Daemon, namespace: str, proxy: SpoilingProxy, tmp_path: Path
) -> None:
    layer = big_layer()
    name = push(proxy.target, layer)
    blob = gzip.compress(layer, 1, mtime=0)
    proxy.pause_after[digest_of(blob)] = len(blob) // 2
    path = tmp_path / "pod.yaml"
    path.write_text(build_pod("drawn", f"{proxy.host}/{name}"))
    with podhost_on_terminal(daemon.environment(), "-n", namespace, "up", "-d", str(path)) as terminal:
        shown = terminal.read_until(r"█+░+ +[45]\d% 1\.\d MB of 3\.\d MB")
        assert "pod/drawn  starting" in shown
        proxy.go_on.set()
        terminal.read_until(r"✓ pod/drawn  ready after [\d.]+ s\n  ● c  ready\n")
        assert terminal.wait() == 0
