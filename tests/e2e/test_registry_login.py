"""``podhost login`` and what skopeo's configuration says of registries: authorities, mirrors, credential helpers.

The daemon's home is the test's, so that nothing of the machine's own configuration is touched.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.daemon import Daemon, running_daemon
from harness.pods import PAUSE_CONFIG, build_pause_layer, build_pod, container_status
from harness.terminal import podhost_on_terminal
from registry import PASSWORD, USER, Registry, make_tar, running_registry
from registry import registry as registry


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("image-store")) as running:
        yield running


@pytest.fixture
def private(daemon: Daemon, tmp_path: Path) -> Iterator[Registry]:
    """With a password, and a certificate of its own authority, on an address that is not loopback."""
    (node,) = daemon.get("/api/v1/nodes")["items"]
    address = next(each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP")
    with running_registry(tmp_path / "registry", password=True, tls_address=address) as running:
        yield running


def push(registry: Registry) -> str:
    """A fresh repository whose image runs; its reference without the host."""
    repository = f"test/{uuid.uuid4().hex[:8]}"
    layers = [build_pause_layer(), make_tar(("unique", repository.encode()))]
    registry.push_image(repository, "1", layers, config=PAUSE_CONFIG)
    return f"{repository}:1"


def configure(daemon: Daemon, name: str, text: str) -> Path:
    path = daemon.root / ".config" / "containers" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def run_pod(daemon: Daemon, namespace: str, name: str, image: str) -> None:
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=build_pod(name, image))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", f"pod/{name}", "--timeout=40s")


def test_a_login_is_checked_kept_used_and_forgotten(
    daemon: Daemon, namespace: str, private: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "no-session"))
    host, image = private.host, f"{private.host}/{push(private)}"
    login = ("login", "-u", USER, "--password-stdin", host)

    unknown = daemon.podhost(*login, stdin=PASSWORD, check=False)
    assert unknown.returncode == 1
    assert f"cannot log in to '{host}'" in unknown.stderr
    assert f"/etc/containers/certs.d/{host}/ca.crt" in unknown.stderr
    assert private.ca is not None
    configure(daemon, f"certs.d/{host}/ca.crt", private.ca.read_text())

    wrong = daemon.podhost(*login, stdin="a guess", check=False)
    assert wrong.returncode == 1
    assert "invalid username/password" in wrong.stderr
    auth_file = daemon.root / ".config" / "containers" / "auth.json"
    assert not auth_file.exists()
    refused = daemon.podhost("image", "pull", image, check=False)
    assert "authentication required" in refused.stderr

    with podhost_on_terminal(daemon.environment(), "login", f"https://{host}/") as terminal:
        terminal.read_until(f"User for {host}: ")
        terminal.press(f"{USER}\n")
        terminal.read_until(f"Password of {USER}: ")
        terminal.press(f"{PASSWORD}\n")
        shown = terminal.read_until(f"logged in to {host} as {USER}; kept in {auth_file}")
        assert PASSWORD not in shown
        assert terminal.wait() == 0
    assert auth_file.stat().st_mode & 0o777 == 0o600
    assert host in json.loads(auth_file.read_text())["auths"]
    assert image in daemon.podhost("image", "pull", image).stdout
    run_pod(daemon, namespace, "of-root", f"{host}/{push(private)}")

    assert f"forgot {host} in {auth_file}" in daemon.podhost("logout", host).stderr
    again = daemon.podhost("logout", host, check=False)
    assert (again.returncode, "there are no credentials for it" in again.stderr) == (1, True)
    assert "authentication required" in daemon.podhost("image", "pull", image, check=False).stderr

    programs = tmp_path / "programs"
    programs.mkdir()
    answer = json.dumps({"ServerURL": host, "Username": USER, "Secret": PASSWORD})
    helper = programs / "docker-credential-fake"
    helper.write_text(f"#!/bin/sh\n[ \"$1 $(cat)\" = 'get {host}' ] && echo '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    for setting in ({"credHelpers": {host: "fake"}}, {"auths": {host: {}}, "credsStore": "fake"}):
        config = daemon.root / ".docker" / "config.json"
        config.parent.mkdir(exist_ok=True)
        config.write_text(json.dumps(setting))
        assert image in daemon.podhost("image", "pull", image).stdout
    config.write_text(json.dumps({"credHelpers": {host: "missing"}}))
    failed = daemon.podhost("image", "pull", image, check=False)
    assert f"cannot ask docker-credential-missing for the credentials of {host}" in failed.stderr
    config.unlink()


def test_a_mirror_serves_what_its_registry_cannot(daemon: Daemon, namespace: str, registry: Registry) -> None:
    reference = push(registry)
    mirror = f'[[registry.mirror]]\nlocation = "{registry.host}"\ninsecure = true\n'
    path = configure(
        daemon, "registries.conf", f'[[registry]]\nprefix = "far.test"\nlocation = "127.0.0.1:9"\n{mirror}'
    )
    run_pod(daemon, namespace, "mirrored", f"far.test/{reference}")
    assert container_status(daemon, namespace, "mirrored")["image"] == f"far.test/{reference}"
    path.unlink()
    refused = daemon.podhost("image", "pull", f"far.test/{push(registry)}", check=False)
    assert refused.returncode == 1
    assert "far.test" in refused.stderr
