"""``fileKeyRef``: the format of the files, and what the kubelet makes of them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.kubelet_rig import make_pod
from podhost.api import models
from podhost.cri.volumes import MountedVolume
from podhost.errors import InvalidError
from podhost.kubelet.env_file import find_value, read_env_files
from podhost.kubelet.environment import ConfigError, EnvironmentContext, build_environment

GOOD = {
    "spaces before a name": ("   A='1'\n\t\tK='v'\n", "v"),
    "comments and blank lines": ("# K='no'\n\nA='1'\n   # more\n\nK='v'\n", "v"),
    "comment behind a value": ("K='v' # K='no'\n", "v"),
    "no line end": ("K='v'", "v"),
    "hash, equals, spaces": ("K='  a#b=c  '\n", "  a#b=c  "),
    "nothing is expanded": ("K='$HOME ${A} \\n \\\\ `x` \"q\"'\n", '$HOME ${A} \\n \\\\ `x` "q"'),
    "several lines": ("K='one\n  two\n\n# three'\nB='x'\n", "one\n  two\n\n# three"),
    "after one of several lines": ("A='one\ntwo'\nK='v'\n", "v"),
}


@pytest.mark.parametrize(("text", "expected"), GOOD.values(), ids=GOOD.keys())
def test_values_are_those_that_a_shell_reads(text: str, expected: str, tmp_path: Path) -> None:
    assert find_value(text, "K") == expected
    file = tmp_path / "env"
    file.write_text(text)
    command = ["bash", "--posix", "-c", f'. {file} && printf "%s" "$K"']
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A='1'\nNOTHING\n", "at line 2"),
        ("='x'\n", "invalid environment variable format at line 1"),
        ("K ='v'\n", "whitespace before '=' is not allowed"),
        ("A='1\n2'\nK=v\n", "at line 3: value must be enclosed in single quotes"),
        ('K="v"\n', "value must be enclosed in single quotes"),
        ("K='a''b'\n", "unexpected content after closing quote"),
        ("K='a'b\n", "unexpected content after closing quote"),
        ("K='a\n", "unclosed single quote"),
    ],
)
def test_what_breaks_the_rules_is_told_with_its_line(text: str, says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        find_value(text, "K")


def test_a_key_that_is_not_there_has_no_value() -> None:
    assert find_value("A='1'\n", "K") is None


def _build(volume: Path, **ref: Any) -> dict[str, str]:
    source = {"valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "sub/env", "key": "K", **ref}}}
    document = make_pod("web", {"name": "main", "env": [{"name": "V", **source}, {"name": "W", "value": "$(V)"}]})
    pod = msgspec.convert(document, models.Pod)
    files = read_env_files(pod.spec.containers[0], {"v": MountedVolume(name="v", host_path=volume)})
    context = EnvironmentContext(read=lambda *_: None, env_files=files)
    return dict(build_environment(pod, pod.spec.containers[0], context))


def test_a_variable_comes_from_a_file_of_a_volume(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/env").write_text("K='v'\n")
    assert _build(tmp_path) == {"V": "v", "W": "v"}
    assert _build(tmp_path, key="NO", optional=True) == {"W": "$(V)"}
    with pytest.raises(ConfigError, match='environment variable key "NO" not found in file "sub/env"'):
        _build(tmp_path, key="NO")
    with pytest.raises(ConfigError, match='cannot find the volume "w" referenced by FileKeyRef'):
        _build(tmp_path, volumeName="w")
    (tmp_path / "sub/env").write_text("K=v\n")
    with pytest.raises(ConfigError, match="couldn't parse env file"):
        _build(tmp_path)


def test_links_of_the_pod_do_not_lead_out_of_the_volume(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("K='of the host'\n")
    volume = tmp_path / "volume"
    (volume / "sub").mkdir(parents=True)
    (volume / "sub/env").symlink_to("../../secret")
    assert _build(volume, optional=True) == {"W": "$(V)"}
    (volume / "sub/env").unlink()
    (volume / "sub/env").mkdir()
    with pytest.raises(OSError, match="no regular file"):
        _build(volume)
