"""Labels of SELinux: what the machine's policy says, and what a pod changes of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.cri.runtime import ContainerStartError, SecurityConfig, SelinuxOptions
from podhost.linux import security_modules
from podhost.runtime.selinux import Context, Labels, Selinux, choose_level, compute_labels, parse_context

POLICY = Selinux(
    Context("system_u", "system_r", "container_t", "s0"), Context("system_u", "object_r", "container_file_t", "s0")
)
LEVEL = "s0:c5,c9"


@pytest.mark.parametrize(
    ("options", "process", "mount"),
    [
        (
            {"type": "spc_t"},
            "system_u:system_r:spc_t:s0:c5,c9",
            "system_u:object_r:container_file_t:s0:c5,c9",
        ),
        (
            {"level": "s0:c1,c2"},
            "system_u:system_r:container_t:s0:c1,c2",
            "system_u:object_r:container_file_t:s0:c1,c2",
        ),
        (
            {"user": "staff_u", "role": "staff_r"},
            "staff_u:staff_r:container_t:s0:c5,c9",
            "staff_u:object_r:container_file_t:s0:c5,c9",
        ),
    ],
)
def test_a_pod_changes_the_labels_that_containers_have(options: dict[str, str], process: str, mount: str) -> None:
    security = SecurityConfig(selinux=SelinuxOptions(**options))
    assert compute_labels(POLICY, security, LEVEL) == Labels(process, mount)
    assert compute_labels(None, security, LEVEL) == Labels()


def test_processes_of_a_privileged_container_keep_the_daemons_label() -> None:
    security = SecurityConfig(privileged=True, selinux=SelinuxOptions(type="spc_t"))
    assert compute_labels(POLICY, security, LEVEL) == Labels("", "system_u:object_r:container_file_t:s0:c5,c9")


def test_a_container_that_asks_for_no_label_gets_none() -> None:
    assert compute_labels(POLICY, SecurityConfig(), LEVEL) == Labels()


@pytest.mark.parametrize("level", ["0", "s0:c1,", "s0:c12345", "s0:c1;c2", "s0 ", "S0", "s0:c1\n"])
def test_a_malformed_level_stops_the_container(level: str) -> None:
    with pytest.raises(ContainerStartError, match=r"the format of 'level' .* is not correct$"):
        compute_labels(POLICY, SecurityConfig(selinux=SelinuxOptions(level=level)), LEVEL)


@pytest.mark.parametrize("level", ["s0", "s0-s1", "s0:c1", "s0:c1,c2", "s0:c0.c1023"])
def test_levels_as_people_write_them_are_taken(level: str) -> None:
    labels = compute_labels(POLICY, SecurityConfig(selinux=SelinuxOptions(level=level)), LEVEL)
    assert labels.process.endswith(f":{level}")


@given(st.text(), st.sets(st.integers(0, 1023), max_size=5))
def test_every_pod_has_two_categories_that_no_other_has(seed: str, numbers: set[int]) -> None:
    taken = {choose_level(str(number), ()) for number in numbers}
    level = choose_level(seed, taken)
    assert level not in taken
    first, second = (int(part.removeprefix("c")) for part in level.removeprefix("s0:").split(","))
    assert 0 <= first < second < 1024
    assert choose_level(seed, taken) == level
    assert choose_level(seed, {*taken, level}) != level


def test_a_policy_without_levels_gives_none() -> None:
    policy = Selinux(Context("u", "r", "t"), Context("u", "o", "f"))
    level = policy.choose_level("seed", ())
    assert compute_labels(policy, SecurityConfig(selinux=SelinuxOptions(type="x")), level) == Labels("u:r:x", "u:o:f")


def test_labels_are_told_from_other_text() -> None:
    assert parse_context("system_u:system_r:container_t:s0:c1,c2") == Context(
        "system_u", "system_r", "container_t", "s0:c1,c2"
    )
    assert [parse_context(text) for text in ("", "unconfined", "a:b", "a::c")] == [None] * 4


def test_the_policys_labels_are_read_from_the_first_file_that_has_them(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    assert security_modules.read_container_contexts(tmp_path) == {}
    write("etc/selinux/config", "# a comment\nSELINUX=permissive\nSELINUXTYPE=default\n")
    write("etc/selinux/default/contexts/lxc_contexts", 'process = "a:b:c:s0"\n# x\nfile="a:o:f:s0"\n')
    assert security_modules.read_container_contexts(tmp_path) == {"process": "a:b:c:s0", "file": "a:o:f:s0"}
    write("usr/share/containers/selinux/contexts", 'process = "x:y:z:s0"\n')
    assert security_modules.read_container_contexts(tmp_path) == {"process": "x:y:z:s0"}


def test_a_tree_is_labelled_with_its_links_and_without_what_they_lead_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep/file").write_text("")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("")
    (tree / "link").symlink_to(tmp_path / "outside")
    (tree / "to-file").symlink_to(tmp_path / "outside/file")
    seen = []

    def record(path: str, name: str, value: bytes, *, follow_symlinks: bool) -> None:
        assert (name, value, follow_symlinks) == ("security.selinux", b"u:o:f:s0", False)
        seen.append(os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)))
        if path.endswith("file"):
            raise OSError(errno.EOPNOTSUPP, "no labels here")

    monkeypatch.setattr(os, "setxattr", record)
    security_modules.relabel_tree(tree, "u:o:f:s0")
    relative = sorted(os.path.relpath(path, tree) for path in map(os.path.normpath, seen))
    assert relative == [".", "deep", "deep/file", "link", "to-file"]
    seen.clear()
    security_modules.relabel_tree(tree / "deep/file", "u:o:f:s0")
    assert seen == [str(tree / "deep/file")]
