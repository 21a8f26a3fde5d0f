"""Attacks on Kubernetes through volumes that were published, each tried here: they fail, and what they fail on is told.

Those on subPath alone (CVE-2017-1002101, CVE-2021-25741) are in ``test_escapes.py`` and
``tests/integration/volumes``.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.daemon import Daemon, running_daemon, wait_until


@pytest.fixture(scope="module")
def daemon(image_store: Path) -> Iterator[Daemon]:
    with running_daemon(image_store) as running:
        yield running


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """What an attacker is after: a directory of the host with a file in it."""
    directory = tmp_path / "precious"
    (directory / "deep").mkdir(parents=True)
    (directory / "deep" / "file").write_text("kept")
    return directory


def container(name: str, script: str, mounts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "debian", "command": ["bash", "-c", script], "volumeMounts": mounts, **more}


def apply(daemon: Daemon, name: str, spec: dict[str, Any]) -> None:
    whole = {"terminationGracePeriodSeconds": 0, "restartPolicy": "Never", **spec}
    daemon.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": whole}))


def test_cve_2017_1002102_links_in_a_volume_do_not_lead_its_removal_to_the_host(daemon: Daemon, precious: Path) -> None:
    """A pod leaves links to the host in every volume that it can write to, and is deleted."""
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("disk", "memory", "own")]
    mounts += [{"name": "disk", "mountPath": "/part", "subPath": "part"}]
    script = "for d in /disk /memory /own /part; do cd $d; " + "".join(
        f"ln -s {path} {name}; "
        for name, path in (("link", precious), ("..data", precious), ("up", f"../../../../../../../..{precious}"))
    )
    script += "mkdir -p a/b; ln -s /proc/1/root a/b/c; done; echo done; exec sleep infinity"
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "own", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}},
    ]
    apply(daemon, "linker", {"containers": [container("c", script, mounts)], "volumes": volumes})
    wait_until(lambda: "done" in daemon.kubectl("logs", "linker", check=False).stdout, what="the links")
    uid = daemon.pod("linker")["metadata"]["uid"]
    daemon.kubectl("delete", "pod", "linker", "--timeout=30s")
    data = daemon.data_root / daemon.instance
    wait_until(lambda: not (data / "pods" / uid).exists(), what="the removal of the volumes")
    wait_until(lambda: not any((data / "volumes").glob("pvc-*")), what="the removal of the claim's data")
    assert (precious / "deep" / "file").read_text() == "kept"


def test_cve_2021_30465_a_mount_below_a_link_of_a_shared_volume_stays_in_the_container(
    daemon: Daemon, precious: Path
) -> None:
    """One container makes links in a volume, another is to get a second volume mounted behind them."""
    prepare = (
        f"cd /v; ln -s {precious} abs; ln -s ../../../../../..{precious} rel; ln -s / root; ln -s /proc/1/root proc"
    )
    places = {"abs": "/v/abs/deep", "rel": "/v/rel/deep", "root": "/v/root/etc", "proc": "/v/proc/etc"}
    shared = {"name": "v", "mountPath": "/v"}
    containers = [
        container(name, "grep /marker /proc/self/mountinfo; ls /etc; exec sleep infinity",
                  [shared, {"name": "marker", "mountPath": place}])
        for name, place in places.items()
    ]  # fmt: skip
    volumes = [{"name": "v", "emptyDir": {}}, {"name": "marker", "emptyDir": {}}]
    spec = {"initContainers": [container("links", prepare, [shared])], "containers": containers, "volumes": volumes}
    before = Path("/proc/self/mountinfo").read_text().count("marker")
    apply(daemon, "below", spec)

    def decided() -> dict[str, str]:
        states = daemon.pod("below")["status"].get("containerStatuses") or []
        found = {each["name"]: next(iter(each["state"]), "") for each in states}
        reasons = {(each["state"].get("waiting") or {}).get("reason") for each in states}
        return found if found and not {"PodInitializing", "ContainerCreating"} & reasons else {}

    states = wait_until(decided, what="the start or refusal of all containers", timeout_s=40)
    # A link to the root is the container's: its own /etc is what the mount hides.
    assert states["root"] == "running"
    shown = wait_until(lambda: daemon.kubectl("logs", "below", "-c", "root").stdout, what="the container's words")
    assert [line.split()[4] for line in shown.splitlines() if "/marker " in line] == ["/etc"]
    assert Path("/proc/self/mountinfo").read_text().count("marker") == before
    assert (precious / "deep" / "file").read_text() == "kept"
    assert sorted(each.name for each in precious.iterdir()) == ["deep"]
    daemon.kubectl("delete", "pod", "below", "--timeout=30s")
    assert (precious / "deep" / "file").read_text() == "kept"


def test_cve_2024_10220_and_2025_1767_no_repository_is_cloned_on_the_host(daemon: Daemon, precious: Path) -> None:
    source = {"name": "g", "gitRepo": {"repository": str(precious), "directory": "../.git", "revision": "main"}}
    whole = {"containers": [container("c", "true", [])], "volumes": [source]}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "git"}, "spec": whole}
    refused = daemon.kubectl("apply", "-f", "-", stdin=json.dumps(document), check=False)
    assert refused.returncode
    assert "spec.volumes[0].gitRepo" in refused.stderr


def test_cve_2023_3676_and_5528_words_of_a_shell_in_paths_are_only_words(daemon: Daemon, tmp_path: Path) -> None:
    """Paths reach no shell, neither on the way to a subPath nor to a hostPath or a local volume."""
    mark = tmp_path / f"mark-{uuid.uuid4().hex[:8]}"
    words = [f"$(touch${{IFS}}{mark.name})", f"a;touch {mark.name}", f"`touch {mark.name}`", "x&&id", "-rf", "%s\n%n"]
    mounts = [{"name": "v", "mountPath": f"/v/{index}", "subPath": word} for index, word in enumerate(words)]
    mounts.append({"name": "all", "mountPath": "/all"})
    place = tmp_path / f"of$(touch {mark.name});host"
    volumes = [
        {"name": "v", "emptyDir": {}},
        {"name": "all", "hostPath": {"path": str(place), "type": "DirectoryOrCreate"}},
    ]
    script = "for i in 0 1 2 3 4 5; do touch /v/$i/here; done; touch /all/here; sleep infinity"
    apply(daemon, "words", {"containers": [container("c", script, mounts)], "volumes": volumes})
    daemon.wait("pod/words", "condition=Ready")
    wait_until((place / "here").exists, what="the file in the host's directory")
    uid = daemon.pod("words")["metadata"]["uid"]
    volume = daemon.data_root / daemon.instance / "pods" / uid / "volumes/kubernetes.io~empty-dir/v"
    assert sorted(str(path.relative_to(volume)) for path in volume.rglob("here")) == sorted(f"{w}/here" for w in words)
    assert [path.name for path in tmp_path.iterdir()] == [place.name]
    assert not list(Path("/").glob(f"{mark.name}*"))
    daemon.kubectl("delete", "pod", "words", "--timeout=30s")
