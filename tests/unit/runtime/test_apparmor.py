"""Which AppArmor profile a container gets, and what the default one says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from podhost.cri.runtime import ContainerStartError, SecurityConfig
from podhost.linux import security_modules, spawn
from podhost.runtime import apparmor
from podhost.runtime.apparmor import DEFAULT_PROFILE, AppArmor, build_default_profile, choose_profile


@pytest.mark.parametrize(
    ("wanted", "privileged", "chosen"),
    [
        ("RuntimeDefault", False, DEFAULT_PROFILE),
        ("RuntimeDefault", True, ""),
        ("Unconfined", False, ""),
        ("localhost/mine", False, "mine"),
        ("localhost/mine", True, "mine"),
    ],
)
def test_a_container_gets_the_profile_that_it_asks_for(wanted: str, privileged: bool, chosen: str) -> None:
    assert choose_profile(SecurityConfig(apparmor_profile=wanted, privileged=privileged)) == chosen


def test_the_default_profile_uses_what_the_distribution_has() -> None:
    text = build_default_profile("unconfined", lambda name: True)
    assert text.startswith("abi <abi/3.0>,\n#include <tunables/global>\n")
    assert "#include <abstractions/base>" in text
    bare = build_default_profile("unconfined", lambda name: False)
    assert bare.startswith("@{PROC}=/proc/\n")
    assert "include" not in bare
    assert "abi <" not in bare


def test_the_daemon_may_signal_containers_also_when_it_is_confined_itself() -> None:
    rule = 'signal (receive) peer="/usr/bin/podhost//serve",'
    assert rule in build_default_profile("/usr/bin/podhost//serve", lambda name: False)
    assert build_default_profile("crun", lambda name: False).count('peer="crun"') == 1


@pytest.mark.parametrize("with_files", [True, False])
@pytest.mark.skipif(not shutil.which("apparmor_parser", path="/usr/sbin:/sbin"), reason="apparmor is not installed")
async def test_the_default_profile_is_one_that_the_parser_takes(with_files: bool) -> None:
    text = build_default_profile("/usr/bin/podhost", lambda name: with_files)
    done = await spawn.run(
        [_parser(), "--skip-kernel-load", "--skip-cache", "--names"], input=text.encode(), check=False
    )
    assert (done.returncode, done.stdout.decode().split()) == (0, [DEFAULT_PROFILE]), done.stderr.decode()


def _parser() -> str:
    found = shutil.which("apparmor_parser", path="/usr/sbin:/sbin")
    assert found is not None
    return found


def _pretend(monkeypatch: pytest.MonkeyPatch, loaded: set[str], *, answer: str = "exit 0") -> AppArmor:
    monkeypatch.setattr(security_modules, "list_apparmor_profiles", lambda: frozenset(loaded))
    monkeypatch.setattr(apparmor, "_POLICY", Path("/nowhere"))
    return AppArmor(Path("/nowhere/apparmor_parser"), enabled=True)


async def test_a_profile_that_is_not_loaded_stops_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    module = _pretend(monkeypatch, {"mine"})
    assert await module.find_profile(SecurityConfig(apparmor_profile="localhost/mine")) == "mine"
    with pytest.raises(ContainerStartError, match=r"apparmor profile not found other$") as caught:
        await module.find_profile(SecurityConfig(apparmor_profile="localhost/other"))
    assert caught.value.reason == "CreateContainerError"


async def test_a_host_without_apparmor_gives_no_profile() -> None:
    module = AppArmor(None)
    await module.open()
    for wanted in ("RuntimeDefault", "Unconfined", "localhost/mine"):
        assert await module.find_profile(SecurityConfig(apparmor_profile=wanted)) == ""


async def test_a_kernel_that_takes_no_profile_is_one_without_apparmor(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = _pretend(monkeypatch, set())
    await module.open()
    assert not module.enabled
    assert "containers run without AppArmor's default profile: cannot run" in caplog.text


async def test_the_default_profile_is_loaded_again_when_somebody_has_removed_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = _pretend(monkeypatch, set())
    parser, given = tmp_path / "apparmor_parser", tmp_path / "given"
    parser.write_text(f'#!/bin/sh\necho "$@" > {given}\ncat >> {given}\n')
    parser.chmod(0o755)
    module.parser = parser
    assert await module.find_profile(SecurityConfig()) == DEFAULT_PROFILE
    assert given.read_text().startswith("-Kr\n")
    assert f"profile {DEFAULT_PROFILE} " in given.read_text()


def test_the_kernels_facts_are_read_from_its_files(tmp_path: Path) -> None:
    assert not security_modules.has_apparmor(tmp_path)
    assert not security_modules.has_selinux(tmp_path)
    for name, text in (
        ("sys/module/apparmor/parameters/enabled", "Y\n"),
        ("sys/kernel/security/apparmor/profiles", "podhost-default (enforce)\n/usr/bin/man (complain)\na (b) (kill)\n"),
        ("sys/fs/selinux/enforce", "0"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert security_modules.has_apparmor(tmp_path)
    assert security_modules.has_selinux(tmp_path)
    assert security_modules.list_apparmor_profiles(tmp_path) == {"podhost-default", "/usr/bin/man", "a (b)"}
    (tmp_path / "sys/module/apparmor/parameters/enabled").write_text("N\n")
    assert not security_modules.has_apparmor(tmp_path)
