"""No input makes a 500 or a stuck connection: mutated objects, patches, queries and raw bodies."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import random
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from podhost.api.kinds import KINDS

REQUESTS = int(os.environ.get("PODHOST_FUZZ_REQUESTS", "250"))
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "x", "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["a.b/c"]},
    "spec": {
        "containers": [
            {
                "name": "c",
                "image": "nginx",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "livenessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 1},
                "securityContext": {"runAsUser": 1, "capabilities": {"add": ["ALL"]}},
            }
        ],
        "volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "x"}}]}}],
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}],
    },
}
SPECS: dict[str, dict[str, Any]] = {
    "Service": {"spec": {"ports": [{"port": 80, "targetPort": "http"}], "selector": {"a": "b"}, "type": "NodePort"}},
    "ConfigMap": {"data": {"a": "b"}, "binaryData": {"c": "AAAA"}, "immutable": False},
    "Secret": {"stringData": {"a": "b"}, "type": "Opaque"},
    "Node": {"spec": {"podCIDR": "10.0.0.0/24", "taints": [{"key": "a", "effect": "NoSchedule"}]}},
    "Endpoints": {"subsets": [{"addresses": [{"ip": "1.2.3.4"}], "ports": [{"port": 80}]}]},
    "EndpointSlice": {"addressType": "IPv4", "endpoints": [{"addresses": ["1.2.3.4"]}], "ports": [{"port": 1}]},
    "Event": {"involvedObject": {"kind": "Pod", "name": "x"}, "reason": "r", "type": "Normal"},
    "Lease": {"spec": {"holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.000000Z"}},
}
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**63,
        2**64,
        -(2**70),
        1.5,
        1e308,
        "",
        "a",
        "A_b",
        "-",
        "x" * 300,
        "ä\u0000",
    ),
    *("0x1", "1Gi", "1e400", "2026-01-01T00:00:00Z", "999999-01-01T00:00:00Z", "$(A)", "../..", "1.2.3.4", "::1"),
    *([], {}, [[]], [{}], [None], {"": ""}, {"a": {"b": {"c": []}}}, {"$patch": "delete"}, [{"$patch": "replace"}]),
    *("\ud800", "\u2028", "🦊", "a" * 5000),
)
QUERIES = {
    "labelSelector": ("a=b", "a in (b,c", "!", "a notin ()", "a>1", "a>b", "=,=", "((", "a=b=c", "ä", "\0", "x" * 2000),
    "fieldSelector": ("metadata.name=x", "metadata.name", "a=b", "=", "\\", "spec.nodeName!=,status.phase=R", ",,,"),
    "limit": ("1", "-1", "x", "9" * 30),
    "continue": ("x", "e30", "bnVsbA", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiYS9iIn0"),
    "resourceVersion": ("0", "1", "-1", "x", "9" * 18, "9" * 40, "²"),
    "resourceVersionMatch": ("Exact", "NotOlderThan", "x"),
    "fieldValidation": ("Strict", "Warn", "Ignore", "x"),
    "fieldManager": ("m", "\x07", "x" * 200, "ä"),
    "dryRun": ("All", "x"),
    "force": ("true", "x"),
    "timeoutSeconds": ("1", "-1", "x", "9" * 30),
    "gracePeriodSeconds": ("0", "-1", "x", "9" * 30),
    "propagationPolicy": ("Orphan", "Foreground", "Background", "x"),
    "sendInitialEvents": ("true", "false", "x"),
    "pretty": ("true", "x"),
}
PATCH_TYPES = (
    *("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"),
    "application/apply-patch+yaml",
)
BODY_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/plain", "")
ACCEPTS = (
    *("application/json", "application/yaml", "*/*", "text/html", ";;,", "application/json;q=x"),
    *("application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"),
)


class Fuzzer:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def request(self) -> tuple[str, str, dict[str, str], bytes]:
        chance = self.chance
        kind = chance.choice(KINDS)
        path = f"/apis/{kind.group_version}" if kind.group else "/api/v1"
        path += f"/namespaces/default/{kind.plural}" if kind.namespaced else f"/{kind.plural}"
        method = chance.choice(("GET", "POST", "POST", "PUT", "PATCH", "PATCH", "PATCH", "DELETE"))
        if method != "POST" and chance.random() < 0.8:
            path += "/" + chance.choice(("x", "x", "x", "y", quote("ä/b"), "x" * 300))
            if chance.random() < 0.2:
                path += "/" + chance.choice(("status", "finalize", "nothing", "binding"))
        body = self.mutated({"apiVersion": kind.group_version, "kind": kind.kind, **self.valid(kind.kind)})
        types = PATCH_TYPES if method == "PATCH" else BODY_TYPES
        headers = {"Content-Type": chance.choice(types), "Accept": chance.choice(ACCEPTS)}
        if headers["Content-Type"] == PATCH_TYPES[0]:
            body = [self.operation() for _ in range(chance.randint(0, 4))]
        data = json.dumps(body).encode()
        if chance.random() < 0.15:
            cut = chance.randrange(len(data))
            data = data[:cut] + bytes(chance.choices(range(256), k=3)) + data[cut + chance.randint(0, 5) :]
        if headers["Content-Type"].endswith("protobuf"):
            data = b"k8s\0" + bytes(chance.choices(range(256), k=chance.randint(0, 40)))
        return method, path + self.query(method), headers, b"" if method == "GET" else data

    def valid(self, kind: str) -> dict[str, Any]:
        if kind == "Pod":
            return copy.deepcopy(POD)
        return {"metadata": {"name": "x"}, **copy.deepcopy(SPECS.get(kind, {}))}

    def query(self, method: str) -> str:
        names = self.chance.sample(list(QUERIES), self.chance.randint(0, 3))
        pairs = [(name, self.chance.choice(QUERIES[name])) for name in names]
        if method == "PATCH" and self.chance.random() < 0.5:
            pairs.append(("fieldManager", "m"))
        if method == "GET" and self.chance.random() < 0.3:
            pairs = [("watch", "1"), ("timeoutSeconds", "1"), *pairs]  # of two, the first counts
        return "?" + "&".join(f"{name}={quote(value)}" for name, value in pairs)

    def operation(self) -> Any:
        paths = ("/metadata/labels/a", "/spec/containers/0", "/spec/containers/-", "/data", "", "/", "x", "/~2", "/a/b")
        operation = {
            "op": self.chance.choice(("add", "remove", "replace", "test", "copy", "move", "x")),
            "path": self.chance.choice(paths),
            "from": self.chance.choice(paths),
            "value": copy.deepcopy(self.chance.choice(VALUES)),
        }
        return self.mutated(operation) if self.chance.random() < 0.2 else operation

    def mutated(self, document: Any) -> Any:
        for _ in range(self.chance.randint(0, 3)):
            document = self.mutate(document)
        return document

    def mutate(self, value: Any) -> Any:
        """Change one place, anywhere below."""
        chance = self.chance
        if not value or not isinstance(value, dict | list) or chance.random() < 0.08:
            return copy.deepcopy(chance.choice(VALUES))
        keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = chance.choice(keys)
        action = chance.random()
        if action < 0.1 and isinstance(value, dict):
            value[chance.choice(("$patch", "$retainKeys", "$setElementOrder/ports", "extra", "metadata"))] = (
                copy.deepcopy(value[key])
            )
        elif action < 0.2:
            del value[key]
        elif action < 0.25 and isinstance(value, list):
            value.append(copy.deepcopy(value[key]))
        else:
            value[key] = self.mutate(value[key])
        return value


@pytest.fixture
async def http(api: Any) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(api.socket))
    async with aiohttp.ClientSession("http://podhost", connector=connector) as session:
        yield session


@pytest.mark.parametrize("seed", range(2))
async def test_no_request_makes_a_500_or_hangs(
    api: Any, http: aiohttp.ClientSession, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    fuzzer = Fuzzer(seed)
    for _ in range(REQUESTS):
        method, url, headers, data = fuzzer.request()
        shown = f"{method} {url} {headers} {data!r}"
        try:
            async with asyncio.timeout(8), http.request(method, url, headers=headers, data=data) as response:
                text = await response.read()
        except TimeoutError:
            pytest.fail(f"no end: {shown}")
        assert response.status < 500 or response.status == 504, f"{shown}\n{text.decode()}"
        assert "a request failed unexpectedly" not in caplog.text, shown
    async with http.get("/api/v1/pods") as response:
        assert response.status == 200
