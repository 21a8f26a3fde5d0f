"""Users, roles and tokens through real kubectl: what they may do, and what they are told when they may not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

READ_PODS = "--verb=get,list,watch", "--resource=pods"


@pytest.fixture
async def tls(api: Any, pki: Path) -> AsyncIterator[aiohttp.ClientSession]:
    import ssl

    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(f"https://localhost:{api.port}", connector=connector) as session:
        yield session


async def as_token(session: aiohttp.ClientSession, token: str, path: str) -> tuple[int, Any]:
    async with session.get(path, headers={"Authorization": f"Bearer {token}"}) as response:
        return response.status, await response.json()


async def test_a_role_and_its_binding_open_what_they_name(api: Any) -> None:
    _, _, err = await api.kubectl("get", "pods", user="bob")
    assert 'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default"' in err
    await api.ok("create", "role", "reader", *READ_PODS)
    await api.ok("create", "rolebinding", "bob-reads", "--role=reader", "--user=bob")
    assert (await api.kubectl("get", "pods", user="bob"))[0] == 0
    code, out, _ = await api.kubectl("auth", "can-i", "list", "pods", user="bob")
    assert (code, out.strip()) == (0, "yes")
    code, out, _ = await api.kubectl("auth", "can-i", "create", "pods", user="bob")
    assert (code, out.splitlines()[0]) == (1, "no")
    _, out, _ = await api.kubectl("auth", "can-i", "--list", user="bob")
    assert "pods" in out
    _, _, err = await api.kubectl("get", "pods", "-n", "kube-system", user="bob")
    assert 'in the namespace "kube-system"' in err
    assert "Role/reader" in await api.ok("get", "rolebindings", "-o", "wide")


async def test_nobody_gives_himself_more(api: Any) -> None:
    await api.ok("create", "clusterrolebinding", "bob-edits-roles", "--clusterrole=admin", "--user=bob")
    code, _, err = await api.kubectl(
        "create", "clusterrolebinding", "x", "--clusterrole=cluster-admin", "--user=bob", user="bob"
    )
    assert code == 1
    assert 'cannot create resource "clusterrolebindings"' in err
    code, _, err = await api.kubectl("create", "role", "all", "--verb=*", "--resource=nodes", user="bob")
    assert code == 1
    assert "is attempting to grant RBAC permissions not currently held" in err
    assert (await api.kubectl("create", "role", "reader", *READ_PODS, user="bob"))[0] == 0


async def test_a_token_of_an_account_works_until_the_account_goes(api: Any, tls: aiohttp.ClientSession) -> None:
    await api.ok("create", "serviceaccount", "robot")
    token = (await api.ok("create", "token", "robot")).strip()
    assert (await as_token(tls, token, "/api/v1/namespaces/default/pods"))[0] == 403
    await api.ok("create", "rolebinding", "robot-views", "--clusterrole=view", "--serviceaccount=default:robot")
    assert (await as_token(tls, token, "/api/v1/namespaces/default/pods"))[0] == 200
    assert (await as_token(tls, token, "/api/v1/namespaces/default/secrets"))[0] == 403
    assert (await as_token(tls, token, "/openid/v1/jwks"))[0] == 200
    out = await api.ok("auth", "whoami", "-o", "json", "--as=system:serviceaccount:default:robot")
    assert "system:serviceaccounts:default" in json.loads(out)["status"]["userInfo"]["groups"]
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    out = await api.ok("create", "-o", "json", "-f", "-", stdin=json.dumps(review).encode())
    assert json.loads(out)["status"]["user"]["username"] == "system:serviceaccount:default:robot"
    await api.ok("delete", "serviceaccount", "robot")
    assert (await as_token(tls, token, "/version"))[0] == 401


async def test_bad_token_requests_are_refused_in_kubernetes_words(api: Any) -> None:
    await api.ok("create", "serviceaccount", "robot")
    code, _, err = await api.kubectl("create", "token", "robot", "--duration=5m")
    assert code == 1
    assert "spec.expirationSeconds: Invalid value: 300: may not specify a duration less than 10 minutes" in err
    code, _, err = await api.kubectl("create", "token", "robot", "--bound-object-kind=Secret", "--bound-object-name=no")
    assert (code, err.strip()) == (1, 'error: failed to create token: secrets "no" not found')
    code, _, err = await api.kubectl("create", "token", "nobody")
    assert 'serviceaccounts "nobody" not found' in err


async def test_tokens_of_the_token_file_and_strangers(api: Any, tls: aiohttp.ClientSession) -> None:
    assert (await as_token(tls, "carol-token", "/api"))[0] == 200
    status, refused = await as_token(tls, "carol-token", "/api/v1/nodes")
    assert (status, refused["reason"]) == (403, "Forbidden")
    assert (await as_token(tls, "wrong", "/api"))[0] == 401
    async with tls.get("/version") as response:
        assert response.status == 200
    async with tls.get("/api") as response:
        assert response.status == 401


async def test_reviews_answer_for_others(api: Any) -> None:
    await api.ok("create", "clusterrolebinding", "devs-view", "--clusterrole=view", "--group=devs")
    spec = {
        "user": "dan",
        "groups": ["devs"],
        "resourceAttributes": {"verb": "get", "resource": "pods", "subresource": "log", "namespace": "default"},
    }
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    status = json.loads(await api.ok("create", "-o", "json", "-f", "-", stdin=json.dumps(review).encode()))["status"]
    assert status == {
        "allowed": True,
        "reason": 'RBAC: allowed by ClusterRoleBinding "devs-view" of ClusterRole "view" to Group "devs"',
    }
    assert (await api.kubectl("get", "pods", "--as=dan", "--as-group=devs"))[0] == 0
    code, _, err = await api.kubectl("get", "secrets", "--as=dan", "--as-group=devs")
    assert code == 1
    assert 'User "dan" cannot list resource "secrets"' in err
    code, _, err = await api.kubectl("get", "pods", "--as=dan", user="bob")
    assert 'users "dan" is forbidden: User "bob" cannot impersonate resource "users"' in err


async def test_roles_that_are_put_together_follow_their_parts(api: Any) -> None:
    labels = "rbac.authorization.k8s.io/aggregate-to-view=true"
    await api.ok("create", "clusterrole", "see-widgets", "--verb=get", "--resource=podtemplates")
    await api.ok("label", "clusterrole", "see-widgets", labels)
    for role in ("view", "edit", "admin"):
        rules = (await api.json("get", "clusterrole", role))["rules"]
        assert any("podtemplates" in rule.get("resources", ()) for rule in rules), role
    await api.ok("delete", "clusterrole", "see-widgets")
    rules = (await api.json("get", "clusterrole", "admin"))["rules"]
    assert not any("podtemplates" in rule.get("resources", ()) for rule in rules)


async def test_wrong_roles_and_bindings_are_explained(api: Any) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "r", "namespace": "default"},
        "rules": [{"verbs": [], "nonResourceURLs": ["/x"]}, {"verbs": ["get"]}],
    }
    _, _, err = await api.kubectl("create", "-f", "-", stdin=json.dumps(role).encode())
    for text in (
        "rules[0].verbs: Required value: verbs must contain at least one value",
        'rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs',
        "rules[1].apiGroups: Required value: resource rules must supply at least one api group",
        "rules[1].resources: Required value: resource rules must supply at least one resource",
    ):
        assert text in err.replace("\\", "")
    await api.ok("create", "rolebinding", "b", "--clusterrole=view", "--user=eve")
    patch = json.dumps({"roleRef": {"name": "edit"}})
    _, _, err = await api.kubectl("patch", "rolebinding", "b", "--type=merge", "-p", patch)
    assert "cannot change roleRef" in err
