"""``podhost image`` against the daemon: every source that ``load`` takes, builds, removal."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.daemon import Daemon, running_daemon
from harness.pods import PAUSE_CONFIG, build_pause_layer, build_pod, list_unfinished
from registry import Registry, make_tar
from registry import registry as registry


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("image-store")


@pytest.fixture(scope="module")
def daemon(own_store: Path) -> Iterator[Daemon]:
    with running_daemon(own_store) as running:
        yield running
    mounted = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(own_store) in line]
    assert not mounted, "nothing stays mounted below the image store"


@pytest.fixture(autouse=True)
def _nothing_half_made_stays(own_store: Path, daemon: Daemon) -> Iterator[None]:
    yield
    assert not list_unfinished(own_store)


@pytest.fixture(scope="module")
def origin(registry: Registry) -> str:
    """An image that runs, as skopeo's source."""
    layers = [build_pause_layer(), make_tar(("note", b"from the registry"))]
    registry.push_image("test/origin", "1", layers, config=PAUSE_CONFIG)
    return f"docker://{registry.host}/test/origin:1"


def copy(source: str, target: str) -> None:
    command = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", source, target]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def names(daemon: Daemon) -> set[str]:
    return set(daemon.podhost("image", "ls", "-q").stdout.split())


def wait_ready(daemon: Daemon, namespace: str, name: str) -> None:
    daemon.kubectl("-n", namespace, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s")


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive", "oci", "dir"])
def test_files_are_loaded_under_their_names_and_run(
    daemon: Daemon, namespace: str, origin: str, tmp_path: Path, transport: str
) -> None:
    name = f"example.com/{transport}/app:v1"
    path = tmp_path / "image"
    tag = "" if transport == "dir" else f":{name}"
    copy(origin, f"{transport}:{path}{tag}")
    # A directory has no names in it; archives and layouts are recognised without being told their kind.
    flags = ("--name", name) if transport == "dir" else ()
    loaded = daemon.podhost("image", "load", str(path), *flags)
    assert loaded.stdout.startswith(f"{name} sha256:")
    assert name in names(daemon)
    daemon.kubectl("-n", namespace, "apply", "-f", "-", stdin=build_pod("p", name))
    wait_ready(daemon, namespace, "p")


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_compressed_archives_are_loaded(daemon: Daemon, origin: str, tmp_path: Path, transport: str) -> None:
    name = f"example.com/zipped-{transport}:1"
    copy(origin, f"{transport}:{tmp_path / 'image.tar'}:{name}")
    subprocess.run(["gzip", str(tmp_path / "image.tar")], check=True)
    loaded = daemon.podhost("image", "load", str(tmp_path / "image.tar.gz"))
    assert loaded.stdout.startswith(f"{name} sha256:")
    assert name in names(daemon)


def test_images_of_podman_are_loaded_from_containers_storage(
    daemon: Daemon, origin: str, tmp_path: Path, namespace: str
) -> None:
    store = f"[vfs@{tmp_path / 'root'}+{tmp_path / 'run'}]"
    copy(origin, f"containers-storage:{store}localhost/mine:1")
    daemon.podhost("image", "load", f"containers-storage:{store}localhost/mine:1")
    assert "localhost/mine:1" in names(daemon)
    # Loaded under a name of this host: also ":latest" names are used without asking a registry.
    daemon.podhost("image", "load", f"containers-storage:{store}localhost/mine:1", "--name", "localhost/newest")
    daemon.kubectl("-n", namespace, "apply", "-f", "-", stdin=build_pod("p", "localhost/newest"))
    wait_ready(daemon, namespace, "p")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("no-such-file", "cannot load 'no-such-file': no such file or directory"),
        ("docker-archive:/no/such.tar", "no such file or directory"),
        ("oci:/no/such/layout", "no such file or directory"),
        ("docker-daemon:nothing:here", "docker"),
        ("containers-storage:nothing-here:1", "nothing-here"),
    ],
)
def test_sources_that_are_not_there_are_said_so(daemon: Daemon, source: str, words: str) -> None:
    refused = daemon.podhost("image", "load", source, check=False)
    assert refused.returncode == 1
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_file_that_is_no_image_and_one_cut_short_are_refused(daemon: Daemon, origin: str, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not an image")
    refused = daemon.podhost("image", "load", str(text), check=False)
    assert refused.returncode == 1
    assert "it is not an image archive" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    whole, cut = tmp_path / "whole.tar", tmp_path / "cut.tar"
    copy(origin, f"docker-archive:{whole}:example.com/cut:1")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    refused = daemon.podhost("image", "load", f"docker-archive:{cut}", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f'podhost: cannot load "{cut}"')
    assert refused.stderr.count("cannot load") == 1
    assert "example.com/cut:1" not in names(daemon)


def test_an_image_without_a_name_is_loaded_with_the_advice_to_give_it_one(
    daemon: Daemon, origin: str, tmp_path: Path
) -> None:
    copy(origin, f"dir:{tmp_path / 'nameless'}")
    loaded = daemon.podhost("image", "load", str(tmp_path / "nameless"))
    assert "sha256:" in loaded.stdout
    assert "give it one: podhost image load" in loaded.stderr


def test_a_build_stands_on_a_local_image_and_runs(
    daemon: Daemon, own_store: Path, namespace: str, origin: str, tmp_path: Path
) -> None:
    daemon.podhost("image", "load", origin, "--name", "base")
    context = tmp_path / "context"
    context.mkdir()
    (context / "greeting").write_text("hello")
    (context / "Containerfile").write_text("FROM base\nCOPY greeting /greeting\nENV GREETING=hello\n")
    built = daemon.podhost("image", "build", "-t", "localhost/greeter", str(context))
    assert built.stdout.startswith("localhost/greeter:latest sha256:")
    assert "COPY greeting /greeting" in built.stderr
    inspected = json.loads(daemon.podhost("image", "inspect", "localhost/greeter").stdout)
    assert "GREETING=hello" in json.dumps(inspected)
    daemon.kubectl("-n", namespace, "apply", "-f", "-", stdin=build_pod("p", "localhost/greeter"))
    wait_ready(daemon, namespace, "p")

    (context / "Containerfile").write_text("FROM base\nCOPY absent /greeting\n")
    failed = daemon.podhost("image", "build", "-t", "localhost/broken", str(context), check=False)
    assert failed.returncode == 1
    assert "absent" in failed.stderr
    assert "STEP 1" not in failed.stderr.partition("podhost: ")[2], "the steps are told once"
    assert "localhost/broken:latest" not in names(daemon)
    shutil.rmtree(context)
    context.mkdir()
    nothing = daemon.podhost("image", "build", str(context), check=False)
    assert nothing.returncode == 1
    assert "no Containerfile or Dockerfile in it" in nothing.stderr


def test_rm_is_refused_while_a_container_uses_the_image(daemon: Daemon, namespace: str, origin: str) -> None:
    image = f"example.com/busy:{uuid.uuid4().hex[:6]}"
    registry_name = origin.removeprefix("docker://")
    daemon.podhost("image", "pull", registry_name)
    daemon.podhost("image", "tag", registry_name, image)
    only = daemon.podhost("image", "inspect", image).stdout
    daemon.kubectl("-n", namespace, "apply", "-f", "-", stdin=build_pod("p", image))
    wait_ready(daemon, namespace, "p")
    image_id = json.loads(only)[0]["id"]
    refused = daemon.podhost("image", "rm", image_id, check=False)
    assert refused.returncode == 1
    assert "it is in use by container" in refused.stderr
    daemon.podhost("image", "prune")
    assert image in names(daemon)
    daemon.kubectl("-n", namespace, "delete", "pod", "p", "--now")
    daemon.podhost("image", "rm", image)
    assert image not in names(daemon)


def test_prune_frees_what_has_no_name(daemon: Daemon, own_store: Path, registry: Registry) -> None:
    repository = f"test/{uuid.uuid4().hex[:6]}"
    image = f"{registry.host}/{repository}:1"
    registry.push_image(repository, "1", [make_tar(("old", b"o" * 100_000))])
    daemon.podhost("image", "pull", image)
    registry.push_image(repository, "1", [make_tar(("new", b"n" * 50_000))])
    daemon.podhost("image", "pull", image)
    before = len(list((own_store / "snapshots").iterdir()))
    pruned = daemon.podhost("image", "prune").stdout
    assert pruned.startswith("removed 1 images, ")
    assert " 0 B freed" not in pruned
    assert len(list((own_store / "snapshots").iterdir())) == before - 1
    assert image in names(daemon)
