"""Whole pods on a kubelet with fakes, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest

from harness.cri_fakes import Script
from harness.kubelet_rig import Rig, make_pod
from podhost.cri.ids import PodUID
from podhost.cri.images import ImagePullError
from podhost.cri.runtime import ContainerStartError, ContainerState
from podhost.cri.volumes import VolumeError
from podhost.errors import UnavailableError
from podhost.kubelet.node import register_node
from podhost.kubelet.probe_state import Outcome, Verdict
from podhost.store.keys import ObjectKey

pytestmark = pytest.mark.looptime


def _conditions(rig: Rig, name: str = "web") -> dict[str, str]:
    return {c["type"]: c["status"] for c in rig.status(name)["conditions"]}


async def test_pod_with_two_containers_becomes_running_and_ready(rig: Rig) -> None:
    rig.create(make_pod("web", {"name": "1st"}, {"name": "2nd"}))
    await asyncio.sleep(0.2)
    assert rig.status()["phase"] == "Running"
    assert _conditions(rig)["Ready"] == "True"
    assert rig.status()["podIP"].startswith("10.0.0.")
    assert rig.container("2nd")["ready"] is True
    assert rig.phases() == ["Pending", "Running"]
    reasons = [reason for reason, _ in rig.events()]
    assert sorted(reasons) == sorted(["Pulled", "Created", "Started"] * 2)


async def test_the_start_of_a_pod_costs_two_status_writes(rig: Rig) -> None:
    rig.create(make_pod("web", {"name": "1st"}, {"name": "2nd"}))
    await asyncio.sleep(0.2)
    assert len(rig.versions) == 3  # created, waiting, running


async def test_pod_that_never_restarts_completes_and_gives_its_sandbox_back(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(run_s=3)]
    rig.create(make_pod(restartPolicy="Never"))
    await asyncio.sleep(4)
    assert rig.status()["phase"] == "Succeeded"
    assert rig.container()["state"]["terminated"]["reason"] == "Completed"
    assert rig.container()["state"]["terminated"]["exitCode"] == 0
    assert rig.volumes.mounted == set()
    assert "stop_pod_sandbox s0001" in rig.runtime.calls
    assert [c.state for c in rig.runtime.list_containers()] == [ContainerState.EXITED]


@pytest.mark.parametrize("probed", [False, True])
async def test_of_a_pod_only_the_latest_version_is_kept(rig: Rig, probed: bool) -> None:
    container = {"name": "main", "readinessProbe": {"exec": {"command": ["true"]}}} if probed else {"name": "main"}
    rig.create(make_pod("web", container))
    await asyncio.sleep(5)
    rig.versions.clear()
    gc.collect()
    versions = {
        obj["metadata"]["resourceVersion"]
        for obj in gc.get_objects()
        if type(obj) is dict and obj.get("kind") == "Pod" and "resourceVersion" in (obj.get("metadata") or {})
        if obj["metadata"].get("uid") == "uid-web"
    }
    pod = rig.pod()
    assert pod is not None
    assert versions == {pod["metadata"]["resourceVersion"]}


@pytest.mark.parametrize("case", ["plain", "probed", "pulling"])
async def test_what_is_kept_of_a_pod_is_freed_with_it_without_the_collector(rig: Rig, case: str) -> None:
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    container = {"name": "main", "readinessProbe": probe} if case == "probed" else {"name": "main"}
    if case == "pulling":
        container["image"] = "absent:1"
    rig.create(make_pod("web", container))
    await asyncio.sleep(5)
    worker = rig.kubelet.find_worker(PodUID("uid-web"))
    assert worker is not None
    freed = weakref.ref(worker)
    gc.collect()
    gc.disable()
    try:
        del worker
        rig.delete("web", grace_s=0)
        await asyncio.sleep(30)
        assert rig.kubelet.find_worker(PodUID("uid-web")) is None
        assert freed() is None
    finally:
        gc.enable()


async def test_init_containers_run_one_after_another_before_the_others(rig: Rig) -> None:
    for name in ("i1", "i2"):
        rig.runtime.scripts[name] = [Script(run_s=1)]
    init = [{"name": n, "image": "nginx:1"} for n in ("i1", "i2")]
    rig.create(make_pod(initContainers=init))
    await asyncio.sleep(0.5)
    assert rig.container("i1")["state"].get("running")
    assert rig.container()["state"]["waiting"]["reason"] == "PodInitializing"
    assert _conditions(rig)["Initialized"] == "False"
    await asyncio.sleep(3)
    assert rig.status()["phase"] == "Running"
    starts = [c for c in rig.runtime.calls if c.startswith("start_container")]
    assert starts == ["start_container i1/0", "start_container i2/0", "start_container main/0"]


async def test_failed_init_container_ends_a_pod_that_never_restarts(rig: Rig) -> None:
    rig.runtime.scripts["i1"] = [Script(run_s=1, code=2)]
    rig.create(make_pod(restartPolicy="Never", initContainers=[{"name": "i1", "image": "nginx:1"}]))
    await asyncio.sleep(2)
    assert rig.status()["phase"] == "Failed"
    assert "start_container main/0" not in rig.runtime.calls


async def test_sidecar_starts_first_and_does_not_block(rig: Rig) -> None:
    sidecar = {"name": "side", "image": "nginx:1", "restartPolicy": "Always"}
    rig.create(make_pod(initContainers=[sidecar]))
    await asyncio.sleep(1)
    assert rig.status()["phase"] == "Running"
    starts = [c for c in rig.runtime.calls if c.startswith("start_container")]
    assert starts == ["start_container side/0", "start_container main/0"]
    rig.delete("web")
    await asyncio.sleep(1)
    stops = [c for c in rig.runtime.calls if c.startswith("stop_container")]
    assert stops == ["stop_container main 30", "stop_container side 30"]


async def test_crashing_container_backs_off_ten_then_twenty_seconds(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(run_s=1, code=1)]
    rig.create(make_pod())
    loop = asyncio.get_running_loop()
    times: list[float] = []
    begun = loop.time()
    while len(times) < 4:
        seen = len([c for c in rig.runtime.calls if c.startswith("start_container")])
        if seen > len(times):
            times.append(round(loop.time() - begun))
        await asyncio.sleep(0.25)
    # First restart at once; then 10 s and 20 s after the exits.
    assert times == [0, 1, 12, 33]
    await asyncio.sleep(1.5)
    state = rig.container()["state"]["waiting"]
    assert state["reason"] == "CrashLoopBackOff"
    assert state["message"] == "back-off 40s restarting failed container=main pod=web_default(uid-web)"
    assert rig.container()["lastState"]["terminated"]["exitCode"] == 1
    assert rig.container()["restartCount"] == 3
    assert ("BackOff", "Back-off restarting failed container main in pod web_default(uid-web)") in rig.events()
    assert len(rig.runtime.containers) <= 2


async def test_back_off_survives_a_restart_of_the_kubelet(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(run_s=1, code=1)]
    rig.create(make_pod())
    await asyncio.sleep(4)
    before = rig.status()
    starts = len(rig.runtime.calls)
    await rig.restart()
    await asyncio.sleep(1)
    assert rig.status() == before
    assert [c for c in rig.runtime.calls[starts:] if c.startswith("start_container")] == []
    await asyncio.sleep(8)
    assert [c for c in rig.runtime.calls[starts:] if c.startswith("start_container")] == ["start_container main/2"]


async def test_restart_of_the_kubelet_keeps_running_containers_and_their_status(rig: Rig) -> None:
    rig.create(make_pod("web", {"name": "1st"}, {"name": "2nd"}))
    await asyncio.sleep(1)
    before, calls = rig.status(), list(rig.runtime.calls)
    await rig.restart()
    await asyncio.sleep(1)
    assert rig.status() == before
    assert rig.runtime.calls == calls


async def test_image_that_does_not_exist_is_reported_and_backs_off(rig: Rig) -> None:
    rig.create(make_pod("web", {"name": "main", "image": "nosuch:1"}, {"name": "good"}))
    await asyncio.sleep(0.5)
    assert rig.container("main")["state"]["waiting"] == {
        "reason": "ErrImagePull",
        "message": 'failed to pull and unpack image "nosuch:1": nosuch:1: not found',
    }
    assert "running" in rig.container("good")["state"]
    await asyncio.sleep(3)
    assert rig.container("main")["state"]["waiting"] == {
        "reason": "ImagePullBackOff",
        "message": 'Back-off pulling image "nosuch:1": ErrImagePull: '
        'failed to pull and unpack image "nosuch:1": nosuch:1: not found',
    }
    assert rig.status()["phase"] == "Pending"
    events = rig.events()
    assert ("Pulling", 'Pulling image "nosuch:1"') in events
    assert (
        "Failed",
        'Failed to pull image "nosuch:1": failed to pull and unpack image "nosuch:1": nosuch:1: not found',
    ) in events
    assert ("Failed", "Error: ErrImagePull") in events
    assert ("BackOff", 'Back-off pulling image "nosuch:1"') in events
    rig.images.remote.add("nosuch:1")
    await asyncio.sleep(30)
    assert rig.status()["phase"] == "Running"
    assert len(rig.images.pulls) == 2


async def test_pull_errors_delay_the_next_pull_longer_each_time(rig: Rig) -> None:
    rig.images.errors["slow:1"] = [ImagePullError("refused") for _ in range(3)]
    rig.images.remote.add("slow:1")
    rig.create(make_pod("web", {"name": "main", "image": "slow:1"}))
    await asyncio.sleep(69)
    assert len(rig.images.pulls) == 3
    await asyncio.sleep(2)
    assert len(rig.images.pulls) == 4
    assert rig.status()["phase"] == "Running"


async def test_pod_deleted_while_its_image_is_pulled_is_gone_at_once(rig: Rig) -> None:
    rig.images.remote.add("big:1")
    rig.images.pull_s = 600
    rig.create(make_pod("web", {"name": "main", "image": "big:1"}))
    await asyncio.sleep(5)
    rig.delete("web")
    await asyncio.sleep(0.5)
    assert rig.pod() is None
    assert rig.images.cancelled == ["big:1"]
    assert rig.runtime.sandboxes == {}
    assert rig.volumes.mounted == set()


async def test_deletion_stops_containers_then_removes_everything_then_the_object(rig: Rig) -> None:
    rig.create(make_pod())
    await asyncio.sleep(1)
    rig.delete("web", 7)
    await asyncio.sleep(0.5)
    assert rig.pod() is None
    assert rig.runtime.sandboxes == {}
    assert rig.runtime.containers == {}
    assert list(rig.settings.log_dir.iterdir()) == []
    assert list(rig.settings.state_dir.iterdir()) == []
    assert "stop_container main 7" in rig.runtime.calls
    assert ("Killing", "Stopping container main") in rig.events()


async def test_second_deletion_shortens_the_grace_of_the_first(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    rig.create(make_pod())
    await asyncio.sleep(1)
    rig.delete("web", 300)
    await asyncio.sleep(5)
    assert rig.pod() is not None
    rig.delete("web", 2)
    await asyncio.sleep(2.5)
    assert rig.pod() is None


async def test_pod_whose_object_is_gone_is_killed(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    rig.create(make_pod())
    await asyncio.sleep(1)
    rig.store.delete(rig.key("web"))
    await asyncio.sleep(2.5)
    assert rig.runtime.sandboxes == {}


async def test_pod_with_a_finalizer_stays_until_it_is_taken_away(rig: Rig) -> None:
    pod = make_pod()
    pod["metadata"]["finalizers"] = ["example.com/hold"]
    rig.create(pod)
    await asyncio.sleep(1)
    rig.delete("web", 0)
    await asyncio.sleep(1)
    stored = rig.pod()
    assert stored is not None
    assert stored["metadata"]["deletionGracePeriodSeconds"] == 0
    assert rig.runtime.sandboxes == {}


async def test_missing_config_map_is_a_config_error_until_it_appears(rig: Rig) -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a"}}}]
    rig.create(make_pod("web", {"name": "main", "env": env}))
    await asyncio.sleep(1)
    assert rig.container()["state"]["waiting"] == {
        "reason": "CreateContainerConfigError",
        "message": 'configmap "conf" not found',
    }
    assert ("Failed", 'Error: configmap "conf" not found') in rig.events()
    document = {"metadata": {"name": "conf", "namespace": "default"}, "data": {"a": "1"}}
    rig.store.create(ObjectKey("configmaps", "default", "conf"), document)
    await asyncio.sleep(1)
    assert rig.status()["phase"] == "Running"
    config = next(iter(rig.runtime.configs.values()))
    assert ("A", "1") in config.env
    assert rig.volumes.refreshed == [("ConfigMap", "default", "conf")]


@pytest.mark.parametrize(("namespace", "told"), [({}, True), ({"deletionTimestamp": "2026-01-02T03:04:05Z"}, False)])
async def test_running_pod_whose_volume_cannot_follow_its_object_is_told_so(
    rig: Rig, namespace: dict[str, Any], told: bool
) -> None:
    rig.store.create(ObjectKey("namespaces", "", "default"), {"metadata": {"name": "default", **namespace}})
    rig.create(make_pod("web", volumes=[{"name": "v", "configMap": {"name": "conf"}}]))
    await asyncio.sleep(1)
    rig.volumes.stale = [text := 'MountVolume.SetUp failed for volume "v" : configmap "conf" not found']
    key = ObjectKey("configmaps", "default", "conf")
    rig.store.create(key, {"metadata": {"name": "conf", "namespace": "default"}})
    await asyncio.sleep(1)
    assert (("FailedMount", text) in rig.events()) == told
    assert rig.status()["phase"] == "Running"


async def test_volume_that_cannot_follow_its_object_is_tried_at_a_growing_distance_until_it_can(rig: Rig) -> None:
    rig.store.create(ObjectKey("namespaces", "", "default"), {"metadata": {"name": "default"}})
    rig.create(make_pod("web", volumes=[{"name": "v", "configMap": {"name": "conf"}}]))
    await asyncio.sleep(1)
    tried = rig.volumes.refreshed_pods
    tried.clear()

    def told() -> list[str]:
        return [text for reason, text in rig.events() if reason == "FailedMount"]

    rig.volumes.stale = ["v fails"]
    key = ObjectKey("configmaps", "default", "conf")
    document = rig.store.create(key, {"metadata": {"name": "conf", "namespace": "default"}})
    for wait_s, tries in ((0.1, 0), (0.5, 1), (0.8, 1), (0.2, 2), (2.0, 3), (4.0, 4)):
        await asyncio.sleep(wait_s)
        assert (len(tried), told()) == (tries, ["v fails"] * (tries + 1))
    # A change in between says what is new, and hurries nothing.
    rig.volumes.stale = ["v fails", "w fails"]
    rig.store.update(key, {**document, "data": {"a": "1"}})
    await asyncio.sleep(0.1)
    assert (len(tried), told()) == (4, ["v fails"] * 5 + ["w fails"])
    rig.volumes.stale = []
    await asyncio.sleep(8)
    assert len(tried) == 5
    await asyncio.sleep(600)
    assert (len(tried), len(told())) == (5, 6)
    # The next failure begins anew; one of a pod that has gone is nobody's.
    rig.volumes.stale = ["v fails"]
    rig.store.update(key, {**rig.store.get(key), "data": {"a": "2"}})
    await asyncio.sleep(0.6)
    assert (len(tried), len(told())) == (6, 8)
    rig.delete("web", 0)
    await asyncio.sleep(600)
    assert len(tried) == 6


async def test_volume_that_cannot_be_mounted_is_tried_again(rig: Rig) -> None:
    rig.volumes.errors = [VolumeError('MountVolume.SetUp failed for volume "v" : secret "s" not found')] * 2
    rig.create(make_pod())
    await asyncio.sleep(0.2)
    assert rig.status()["phase"] == "Pending"
    await asyncio.sleep(3)
    assert rig.status()["phase"] == "Running"
    assert ("FailedMount", 'MountVolume.SetUp failed for volume "v" : secret "s" not found') in rig.events()
    assert len(rig.runtime.sandboxes) == 1


async def test_sandbox_is_shown_when_the_volumes_are_mounted(rig: Rig) -> None:
    """They are made at the same time; a kubelet mounts first."""
    rig.volumes.errors = [VolumeError("no secret")]
    rig.create(make_pod())

    def is_shown() -> tuple[bool, str]:
        ready = next(c for c in rig.status()["conditions"] if c["type"] == "PodReadyToStartContainers")
        return "podIP" in rig.status(), ready["status"]

    await asyncio.sleep(0.4)
    assert len(rig.runtime.sandboxes) == 1
    assert is_shown() == (False, "False")
    await asyncio.sleep(1)
    assert is_shown() == (True, "True")


async def test_each_volume_that_cannot_be_mounted_has_its_event(rig: Rig) -> None:
    rig.volumes.errors = [VolumeError("first fails", "second fails")]
    rig.create(make_pod())
    await asyncio.sleep(0.2)
    assert [text for reason, text in rig.events() if reason == "FailedMount"] == ["first fails", "second fails"]


async def test_what_is_wrong_with_an_image_name_is_told(rig: Rig) -> None:
    rig.create(make_pod("web", {"name": "main", "image": "Shop"}))
    await asyncio.sleep(0.2)
    assert rig.container()["state"]["waiting"] == {
        "reason": "InvalidImageName",
        "message": 'Failed to apply default image tag "Shop": couldn\'t parse image name "Shop": '
        "invalid reference format: repository name (library/Shop) must be lowercase",
    }


async def test_sandbox_that_cannot_be_made_is_tried_again(rig: Rig) -> None:
    rig.runtime.fail["run_pod_sandbox"] = [UnavailableError("no address")]
    rig.create(make_pod())
    await asyncio.sleep(3)
    assert rig.status()["phase"] == "Running"
    assert ("FailedCreatePodSandBox", "Failed to create pod sandbox: no address") in rig.events()


@pytest.mark.parametrize(("policy", "phase"), [("Never", "Failed"), ("Always", "Pending")])
async def test_command_that_does_not_exist(rig: Rig, policy: str, phase: str) -> None:
    error = ContainerStartError('exec: "nosuch": executable file not found in $PATH')
    rig.runtime.scripts["main"] = [Script(start_error=error)]
    rig.create(make_pod(restartPolicy=policy))
    await asyncio.sleep(2)
    state: dict[str, Any] = rig.container()["state"]
    if policy == "Never":
        assert state["terminated"]["reason"] == "StartError"
        assert state["terminated"]["exitCode"] == 128
        assert rig.status()["phase"] == phase
    else:
        assert state["waiting"]["reason"] == "CrashLoopBackOff"
        assert rig.container()["lastState"]["terminated"]["reason"] == "StartError"
    assert ("Failed", f"Error: {error}") in rig.events()


async def test_deadline_ends_the_pod(rig: Rig) -> None:
    rig.create(make_pod(activeDeadlineSeconds=5))
    await asyncio.sleep(4)
    assert rig.status()["phase"] == "Running"
    await asyncio.sleep(3)
    assert rig.status()["phase"] == "Failed"
    assert rig.status()["reason"] == "DeadlineExceeded"
    assert rig.runtime.names(ContainerState.RUNNING) == []


async def test_after_a_reboot_the_pod_gets_a_new_sandbox_and_counts_on(rig: Rig) -> None:
    rig.create(make_pod())
    await asyncio.sleep(1)
    await rig.kubelet.stop()
    rig.runtime.reboot()
    await rig.restart()
    await asyncio.sleep(1)
    assert rig.status()["phase"] == "Running"
    assert rig.container()["restartCount"] == 1
    assert ("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.") in rig.events()


async def test_orphans_are_swept_at_the_start(rig: Rig) -> None:
    rig.create(make_pod())
    await asyncio.sleep(1)
    await rig.kubelet.stop()
    rig.store.delete(rig.key("web"))
    await rig.restart()
    await asyncio.sleep(1)
    assert rig.runtime.sandboxes == {}
    assert rig.volumes.mounted == set()
    assert list(rig.settings.log_dir.iterdir()) == []


async def test_termination_message_of_a_file_is_shown(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(run_s=1, code=3, message="disk full")]
    rig.create(make_pod(restartPolicy="Never"))
    await asyncio.sleep(2)
    terminated = rig.container()["state"]["terminated"]
    assert (terminated["exitCode"], terminated["message"]) == (3, "disk full")
    assert rig.status()["phase"] == "Failed"


async def test_changed_image_restarts_the_container(rig: Rig) -> None:
    rig.images.add("nginx:2")
    rig.create(make_pod())
    await asyncio.sleep(1)

    def change(pod: dict[str, Any]) -> dict[str, Any]:
        pod["spec"]["containers"][0]["image"] = "nginx:2"
        pod["metadata"]["generation"] = 2
        return pod

    rig.store.mutate(rig.key("web"), change)
    await asyncio.sleep(1)
    assert rig.container()["restartCount"] == 1
    assert rig.container()["image"] == "docker.io/library/nginx:2"
    assert rig.status()["observedGeneration"] == 2
    assert ("Killing", "Container main definition changed, will be restarted") in rig.events()


async def test_the_node_is_registered(rig: Rig) -> None:
    rig.kubelet.context.host = replace(rig.kubelet.context.host, huge_pages={})
    register_node(rig.kubelet.context)
    node = rig.store.get(ObjectKey("nodes", "", "n1"))
    capacity, allocatable = node["status"]["capacity"], node["status"]["allocatable"]
    disk = int(capacity.pop("ephemeral-storage").removesuffix("Ki")) * 1024
    assert capacity == {"cpu": "2", "memory": "4194304Ki", "pods": "1000"}
    assert int(allocatable.pop("ephemeral-storage")) == disk  # nothing is kept back without a threshold
    assert allocatable == capacity
    assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] == "True"


async def test_huge_pages_of_the_host_are_capacity_and_not_to_be_had_as_memory(rig: Rig) -> None:
    rig.kubelet.context.host = replace(rig.kubelet.context.host, huge_pages={2 << 20: 16 << 20, 1 << 30: 0})
    register_node(rig.kubelet.context)
    status = rig.store.get(ObjectKey("nodes", "", "n1"))["status"]
    for part in (status["capacity"], status["allocatable"]):
        assert (part["hugepages-2Mi"], part["hugepages-1Gi"]) == ("16Mi", "0")
    assert (status["capacity"]["memory"], status["allocatable"]["memory"]) == ("4194304Ki", "4177920Ki")


async def test_deleted_node_registers_again_at_once(rig: Rig) -> None:
    key = ObjectKey("nodes", "", rig.settings.node_name)
    old = rig.store.delete(key)
    await asyncio.sleep(0.1)
    assert rig.store.get(key)["metadata"]["uid"] != old["metadata"]["uid"]


async def test_the_node_always_has_a_lease_that_goes_with_it(rig: Rig) -> None:
    node, lease = ObjectKey("nodes", "", "n1"), ObjectKey("leases.coordination.k8s.io", "kube-node-lease", "n1")

    def owner_and_holder() -> tuple[str, str]:
        found = rig.store.get(lease)
        return found["metadata"]["ownerReferences"][0]["uid"], found["spec"]["holderIdentity"]

    first = rig.store.get(node)["metadata"]["uid"]
    assert owner_and_holder() == (first, "n1")
    rig.store.delete(lease)
    await asyncio.sleep(0.1)
    assert owner_and_holder() == (first, "n1")
    rig.store.delete(node)
    await asyncio.sleep(0.1)
    second = rig.store.get(node)["metadata"]["uid"]
    assert owner_and_holder() == (second, "n1")
    before = rig.store.get(lease)["spec"]["renewTime"]
    version = rig.store.current_rv()
    await asyncio.sleep(2 * rig.settings.relist_interval_s)
    assert rig.store.current_rv() == version, "an idle node writes nothing"
    await rig.restart()
    assert rig.store.get(lease)["spec"]["renewTime"] > before


async def test_opening_a_readiness_gate_makes_the_pod_ready(rig: Rig) -> None:
    rig.create(make_pod(readinessGates=[{"conditionType": "example.com/open"}]))
    await asyncio.sleep(1)
    assert _conditions(rig)["Ready"] == "False"

    def open_gate(pod: dict[str, Any]) -> dict[str, Any]:
        pod["status"]["conditions"].append({"type": "example.com/open", "status": "True"})
        return pod

    rig.store.mutate(ObjectKey("pods", "default", "web"), open_gate)
    await asyncio.sleep(1)
    assert _conditions(rig)["Ready"] == "True"


def _set_image(rig: Rig, image: str) -> None:
    def change(pod: dict[str, Any]) -> dict[str, Any]:
        pod["spec"]["containers"][0]["image"] = image
        pod["metadata"]["generation"] += 1
        return pod

    rig.store.mutate(rig.key("web"), change)


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
async def test_container_with_another_image_is_started_again_whatever_the_policy(rig: Rig, policy: str) -> None:
    rig.images.remote.add("nginx:2")
    rig.runtime.scripts["main"] = [Script(term_code=0)]
    rig.create(make_pod(restartPolicy=policy))
    await asyncio.sleep(1)
    _set_image(rig, "nginx:2")
    await asyncio.sleep(1)
    assert rig.container()["restartCount"] == 1
    assert "running" in rig.container()["state"]
    assert rig.container()["image"].endswith("nginx:2")
    assert rig.phases() == ["Pending", "Running"]
    assert ("Killing", "Container main definition changed, will be restarted") in rig.events()


async def test_container_that_had_ended_is_not_started_for_its_new_image_under_never(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(run_s=1)]
    rig.create(make_pod("web", {"name": "main"}, {"name": "stays"}, restartPolicy="Never"))
    await asyncio.sleep(2)
    _set_image(rig, "nginx:2")
    await asyncio.sleep(2)
    assert rig.container()["restartCount"] == 0
    assert "terminated" in rig.container()["state"]


async def test_container_that_fails_its_liveness_probe_is_started_again_though_it_exits_with_0(rig: Rig) -> None:
    """Under OnFailure: the kubelet restarts what it has killed itself."""
    rig.runtime.scripts["main"] = [Script(term_code=0)]
    probe = {"exec": {"command": ["live"]}, "periodSeconds": 5, "timeoutSeconds": 1,
             "failureThreshold": 1, "successThreshold": 1}  # fmt: skip
    rig.create(make_pod("web", {"name": "main", "livenessProbe": probe}, restartPolicy="OnFailure"))
    await asyncio.sleep(1)
    rig.handlers.answers["live"] = [Outcome(Verdict.FAILURE, "no")]
    await asyncio.sleep(10)
    rig.handlers.answers["live"] = [Outcome(Verdict.SUCCESS)]
    await asyncio.sleep(30)
    assert rig.container()["restartCount"] >= 1
    assert "running" in rig.container()["state"]


async def test_exit_that_nobody_told_is_seen_at_the_next_relist(rig: Rig) -> None:
    """Missed exits: kubernetes#139262."""
    await rig.restart()  # The fixture's timers are of another time.
    rig.create(make_pod())
    await asyncio.sleep(1)
    told, rig.runtime._callbacks = rig.runtime._callbacks, []
    rig.runtime.kill(rig.runtime.list_containers()[0].id, 3)
    rig.runtime._callbacks = told
    await asyncio.sleep(5)
    assert rig.container()["restartCount"] == 0
    await asyncio.sleep(rig.settings.relist_interval_s)
    assert rig.container()["restartCount"] == 1
    assert rig.container()["lastState"]["terminated"]["exitCode"] == 3
