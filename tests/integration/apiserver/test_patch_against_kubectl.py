"""Patches and apply: random ones, carried out here and by kubectl's own code."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.daemon import kubectl_binary
from podhost.api.patches import PatchError, apply_strategic_merge_patch
from podhost.api.structure import check_structure

POD = "io.k8s.api.core.v1.Pod"
CASES_A_SEED = 15
Obj = dict[str, Any]


class Generator:
    """Random pods and patches that have much to do with each other."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def maybe(self, probability: float) -> bool:
        return self.chance.random() < probability

    def some(self, items: list[Any], least: int = 0) -> list[Any]:
        return self.chance.sample(items, self.chance.randint(least, len(items)))

    def pod(self) -> Obj:
        spec: Obj = {"containers": [self.container(name) for name in self.some(list("abcd"), 1)]}
        metadata: Obj = {"name": "p"}
        if self.maybe(0.5):
            spec["volumes"] = [{"name": name, **self.volume_source()} for name in self.some(list("vwxy"), 1)]
        if self.maybe(0.5):
            spec["nodeSelector"] = {key: self.chance.choice("12") for key in self.some(["m", "n"], 1)}
        if self.maybe(0.5):
            metadata["finalizers"] = self.some(["a/1", "a/2", "a/3"], 1)
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def container(self, name: str) -> Obj:
        container: Obj = {"name": name, "image": self.chance.choice("12")}
        if self.maybe(0.5):
            container["ports"] = [{"containerPort": port} for port in self.some([80, 81, 82], 1)]
        if self.maybe(0.5):
            container["env"] = [{"name": key, "value": "1"} for key in self.some(list("ABC"), 1)]
        if self.maybe(0.3):
            container["args"] = self.some(["a", "b"], 1)
        return container

    def volume_source(self) -> Obj:
        return self.chance.choice([{"emptyDir": {}}, {"hostPath": {"path": "/x"}}, {"configMap": {"name": "c"}}])

    def patch(self) -> Obj:
        spec: Obj = {}
        if self.maybe(0.8):
            spec |= self.keyed_list("containers", "name", list("abcde"), self.container_patch)
        if self.maybe(0.5):
            spec |= self.keyed_list("volumes", "name", list("vwxz"), self.volume_patch)
        if self.maybe(0.3):
            spec["nodeSelector"] = self.chance.choice([None, {"m": None}, {"$patch": "replace", "o": "1"}])
        if self.maybe(0.05):
            spec["$patch"] = self.chance.choice(["merge", "bogus"])
        return {"spec": spec, "metadata": self.finalizers_patch()}

    def finalizers_patch(self) -> Obj:
        metadata: Obj = {}
        wanted = self.some(["a/1", "a/2", "a/4"])
        if self.maybe(0.5):
            metadata["finalizers"] = wanted
            metadata["$setElementOrder/finalizers"] = wanted
        if self.maybe(0.4):
            metadata["$deleteFromPrimitiveList/finalizers"] = [one for one in ("a/2", "a/3") if one not in wanted]
        return metadata

    def container_patch(self, name: str) -> Obj:
        patch: Obj = {"name": name}
        if self.maybe(0.5):
            patch["image"] = self.chance.choice(["3", None])
        if self.maybe(0.5):
            patch |= self.keyed_list("env", "name", list("ABD"), lambda key: {"name": key, "value": "2"})
        if self.maybe(0.3):
            patch |= self.keyed_list("ports", "containerPort", [80, 81, 83], lambda port: {"containerPort": port})
        if self.maybe(0.2):
            patch["args"] = self.chance.choice([None, ["z"]])
        return patch

    def volume_patch(self, name: str) -> Obj:
        source = self.volume_source()
        return {"name": name, **source, **({"$retainKeys": ["name", *source]} if self.maybe(0.6) else {})}

    def keyed_list(self, field: str, key: str, names: list[Any], item: Callable[[Any], Obj]) -> Obj:
        chosen = self.some(names)
        items = [{key: name, "$patch": "delete"} if self.maybe(0.25) else item(name) for name in chosen]
        if self.maybe(0.1):
            items.insert(self.chance.randint(0, len(items)), {"$patch": "replace"})
            return {field: items}
        order = [entry[key] for entry in items if "$patch" not in entry]
        for extra in (name for name in names if name not in chosen and self.maybe(0.4)):
            order.insert(self.chance.randint(0, len(order)), extra)
        directive = {f"$setElementOrder/{field}": [{key: name} for name in order]} if self.maybe(0.5) else {}
        return {field: items, **directive}


def normal(document: Obj) -> Obj:
    decoded = check_structure(document, POD).document
    decoded.pop("status", None)
    decoded.get("metadata", {}).pop("creationTimestamp", None)
    for container in decoded.get("spec", {}).get("containers", ()):
        container.pop("resources", None)
    return decoded


def ours(pod: Obj, patch: Obj) -> Obj | str:
    try:
        return normal(apply_strategic_merge_patch(pod, patch, POD))
    except PatchError as error:
        return str(error).strip()


async def kubectls(path: Path, pod: Obj, patch: Obj) -> Obj | str:
    path.write_text(json.dumps(pod))
    process = await asyncio.create_subprocess_exec(
        *(
            kubectl_binary(),
            "patch",
            "--local",
            "--type=strategic",
            "-p",
            json.dumps(patch),
            "-f",
            str(path),
            "-o",
            "json",
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "KUBECONFIG": "/dev/null", "HOME": str(path.parent)},
    )
    out, err = await process.communicate()
    return err.decode().removeprefix("error: ").strip() if process.returncode else normal(json.loads(out))


@pytest.mark.parametrize("seed", range(3))
async def test_patches_do_what_kubectls_do(tmp_path: Path, seed: int) -> None:
    generator = Generator(seed)
    for case in range(CASES_A_SEED):
        pod, patch = generator.pod(), generator.patch()
        expected = await kubectls(tmp_path / f"{case}.json", pod, patch)
        assert ours(pod, patch) == expected, f"pod {json.dumps(pod)}\npatch {json.dumps(patch)}"


def template(generator: Generator, name: str) -> Obj:
    pod = generator.pod()
    labels = {key: generator.chance.choice("12") for key in generator.some(list("abc"))}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "PodTemplate", "metadata": metadata, "template": {"spec": pod["spec"]}}


def without_order(value: Any) -> Any:
    """Lists with keys have the same entries; which comes first is each way's own business."""
    if isinstance(value, dict):
        return {key: without_order(each) for key, each in value.items()}
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return sorted((without_order(each) for each in value), key=lambda each: json.dumps(each, sort_keys=True))
    return value


@pytest.mark.parametrize("seed", range(2))
async def test_apply_by_the_server_leads_where_kubectls_own_apply_leads(api: Any, seed: int) -> None:
    """kubectl computes a three-way patch from what it applied last; the server has the managers of fields."""
    generator = Generator(100 + seed)
    for number in range(3):
        for step in range(3):
            config = template(generator, "x")
            for name, flags in (("client", ()), ("server", ("--server-side",))):
                config["metadata"]["name"] = f"{name}{number}"
                text = json.dumps(config).encode()
                code, _, err = await api.kubectl("apply", *flags, "-f", "-", stdin=text)
                assert code == 0, f"step {step}: {err}\n{text.decode()}"
            client = json.loads(await api.ok("get", "podtemplate", f"client{number}", "-o", "json"))
            server = json.loads(await api.ok("get", "podtemplate", f"server{number}", "-o", "json"))
            assert without_order(server["template"]) == without_order(client["template"]), config
            assert server["metadata"].get("labels", {}) == client["metadata"].get("labels", {}), config
