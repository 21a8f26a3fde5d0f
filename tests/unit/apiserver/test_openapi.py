"""The documents that kubectl reads before it sends anything."""

from __future__ import annotations

import json
from collections.abc import Iterator

from podhost.api.kinds import KINDS
from podhost.api.pod_channels import POD_CHANNELS
from podhost.api.usage_kinds import POD_STATS
from podhost.apiserver import discovery, openapi
from podhost.apiserver.openapi_schemas import V3_PREFIX, build_schemas
from podhost.channels.graph import Channel, ContainerNode, End, Listener, Problem, ProcessNode


def test_every_kind_has_a_patch_that_takes_field_validation() -> None:
    paths = json.loads(openapi.build_paths_document(dict.fromkeys(openapi.document_paths(), "X")))["paths"]
    for kind in KINDS:
        path = f"apis/{kind.group_version}" if kind.group else "api/v1"
        assert paths[path]["serverRelativeURL"].startswith(f"/openapi/v3/{path}?hash=X")
        document = json.loads(openapi.group_document(path) or b"")
        found = [
            item["patch"]
            for item in document["paths"].values()
            if item.get("patch", {}).get("x-kubernetes-group-version-kind", {}).get("kind") == kind.kind
        ]
        assert [parameter["name"] for parameter in found[0]["parameters"]].count("fieldValidation") == 1


def test_all_references_lead_somewhere() -> None:
    for kind in KINDS:
        path = f"apis/{kind.group_version}" if kind.group else "api/v1"
        text = (openapi.group_document(path) or b"").decode()
        schemas = json.loads(text)["components"]["schemas"]
        refs = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}
        assert refs <= set(schemas)
        assert kind.schema in schemas


def test_operations_have_the_names_that_generated_clients_call() -> None:
    found = {
        operation["operationId"]: f"{method} {path}"
        for group in openapi.document_paths()
        for path, item in json.loads(openapi.group_document(group) or b"")["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }
    pods = "/api/v1/namespaces/{namespace}/pods"
    assert found["listCoreV1NamespacedPod"] == f"get {pods}"
    assert found["listCoreV1PodForAllNamespaces"] == "get /api/v1/pods"
    assert found["deleteCoreV1CollectionNamespacedPod"] == f"delete {pods}"
    assert found["patchCoreV1NamespacedPodEphemeralcontainers"] == f"patch {pods}/{{name}}/ephemeralcontainers"
    assert found["readCoreV1NamespacedPodLog"] == f"get {pods}/{{name}}/log"
    assert found["replaceCoreV1NamespaceFinalize"] == "put /api/v1/namespaces/{name}/finalize"
    assert found["createRbacAuthorizationV1ClusterRole"] == "post /apis/rbac.authorization.k8s.io/v1/clusterroles"
    assert found["createAuthenticationV1TokenReview"] == "post /apis/authentication.k8s.io/v1/tokenreviews"
    assert "replaceAuthenticationV1TokenReview" not in found


def test_operations_say_what_they_answer() -> None:
    document = json.loads(openapi.group_document("api/v1") or b"")

    def answer(method: str, path: str, code: str = "200") -> str:
        content = document["paths"][path][method]["responses"][code]["content"]["application/json"]
        return str(content["schema"]["$ref"].rpartition(".")[2])

    pods = "/api/v1/namespaces/{namespace}/pods"
    assert [answer("get", pods), answer("post", pods, "201"), answer("delete", pods)] == ["PodList", "Pod", "Status"]
    assert answer("delete", f"{pods}/{{name}}") == "Pod"
    assert answer("delete", "/api/v1/namespaces/{name}", "202") == "Status"
    assert answer("post", f"{pods}/{{name}}/binding", "201") == "Binding"
    assert answer("post", "/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token") == "TokenRequest"
    told = {
        sub: document["paths"][f"{pods}/{{name}}/{sub}"][method]["x-kubernetes-group-version-kind"]
        for sub, method in {"status": "put", "eviction": "post"}.items()
    }
    assert told["status"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert told["eviction"] == {"group": "policy", "version": "v1", "kind": "Eviction"}
    pod_list = document["components"]["schemas"]["io.k8s.api.core.v1.PodList"]
    assert pod_list["properties"]["items"]["items"]["allOf"][0]["$ref"].endswith("/io.k8s.api.core.v1.Pod")
    assert pod_list["x-kubernetes-group-version-kind"] == [{"group": "", "version": "v1", "kind": "PodList"}]


def test_values_with_a_name_have_a_definition_of_their_own() -> None:
    name = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
    v3 = json.loads(openapi.group_document("api/v1") or b"")["components"]["schemas"]
    assert v3["io.k8s.api.core.v1.ServicePort"]["properties"]["targetPort"]["allOf"] == [{"$ref": V3_PREFIX + name}]
    assert v3[name]["oneOf"] == [{"type": "integer"}, {"type": "string"}]
    v2 = json.loads(openapi.v2_json())["definitions"]
    assert v2["io.k8s.api.core.v1.ServicePort"]["properties"]["targetPort"]["$ref"].endswith(name)
    assert (v2[name]["type"], v2[name]["format"]) == ("string", "int-or-string")


def test_patch_keys_are_told() -> None:
    document = json.loads(openapi.v2_json())
    containers = document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert (containers["x-kubernetes-patch-strategy"], containers["x-kubernetes-patch-merge-key"]) == ("merge", "name")


def test_descriptions_are_told_where_they_are_built_in() -> None:
    texts = {"io.k8s.api.core.v1.Pod": {"": "A pod.", "spec": "Its spec."}}
    schemas = build_schemas(["io.k8s.api.core.v1.Pod"], V3_PREFIX, texts)
    pod = schemas["io.k8s.api.core.v1.Pod"]
    assert (pod["description"], pod["properties"]["spec"]["description"]) == ("A pod.", "Its spec.")
    assert "description" not in schemas["io.k8s.api.core.v1.PodSpec"]


def test_podhosts_own_kinds_are_told_field_by_field() -> None:
    document = json.loads(openapi.group_document("apis/podhost.dev/v1alpha1") or b"")
    assert "get" in document["paths"]["/apis/podhost.dev/v1alpha1/namespaces/{namespace}/podchannels/{name}"]
    schemas = document["components"]["schemas"]
    for kind in (POD_STATS, POD_CHANNELS):
        told = schemas[kind.schema]
        gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        assert told["x-kubernetes-group-version-kind"] == [gvk]
    own = {name.removeprefix("dev.podhost.v1alpha1."): told for name, told in schemas.items() if "podhost" in name}
    for name, told in own.items():
        if not name.endswith("List"):
            assert all(field.get("description") for field in (told, *told["properties"].values())), name
    for value in (ContainerNode, ProcessNode, Listener, Channel, End, Problem):
        assert set(own[value.__name__]["properties"]) == set(value.__struct_encode_fields__)
    assert "dev.podhost.v1alpha1.Channel" in openapi.v2_document()["definitions"]


def test_protobuf_says_what_json_says() -> None:
    document = openapi.v2_document()
    found = dict(fields(openapi.v2_protobuf()))
    definitions = {
        dict(fields(named))[1].decode(): dict(fields(dict(fields(named))[2])) for _, named in fields(found[9])
    }
    assert set(definitions) == set(document["definitions"])
    spec = definitions["io.k8s.api.core.v1.PodSpec"]
    properties = {dict(fields(named))[1].decode(): dict(fields(named))[2] for _, named in fields(spec[25])}
    assert set(properties) == set(document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"])
    containers = dict(fields(properties["containers"]))
    items = dict(fields(dict(fields(containers[23]))[1]))
    assert items[1] == b"#/definitions/io.k8s.api.core.v1.Container"


def fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Length-delimited fields of a protobuf message."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        number, kind = divmod(varint(), 8)
        assert kind == 2
        length = varint()
        yield number, data[at : at + length]
        at += length


def test_unknown_group_has_no_document() -> None:
    assert openapi.group_document("apis/nonsense/v1") is None


def test_discovery_lists_subresources_after_their_resource() -> None:
    names = [each["name"] for each in discovery.build_resource_list("", "v1", KINDS)["resources"]]
    assert names.index("pods") < names.index("pods/log")
    aggregated = discovery.build_aggregated(KINDS, core=True)["items"][0]["versions"][0]["resources"]
    (pods,) = [each for each in aggregated if each["resource"] == "pods"]
    assert {"log", "exec", "status"} <= {each["subresource"] for each in pods["subresources"]}
    assert pods["scope"] == "Namespaced"
