from __future__ import annotations

import pytest

from podhost.daemon.settings import parse_settings
from podhost.errors import InvalidError


@pytest.mark.parametrize("name", ["", "_images", "Upper", "a/b", "..", "-a", "a-", "x" * 33])
def test_an_instance_name_that_is_no_plain_word_is_refused(name: str) -> None:
    with pytest.raises(InvalidError, match="cannot use instance name"):
        parse_settings(["--instance", name] if not name.startswith("-") else [f"--instance={name}"])


def test_only_the_default_instance_takes_the_well_known_port() -> None:
    assert parse_settings(["--instance", "default"]).api_port == 6443
    assert parse_settings(["--instance", "other"]).api_port == 0
    assert parse_settings(["--instance", "other", "--api-port", "7000"]).api_port == 7000


def test_instances_share_the_image_store_and_nothing_else() -> None:
    one, two = parse_settings(["--instance", "one"]), parse_settings(["--instance", "two"])
    assert one.images_dir == two.images_dir
    assert one.data_dir != two.data_dir
    assert one.run_dir != two.run_dir


@pytest.mark.parametrize("text", ["30000", "a-b", "200-100", "0-10", "1-70000"])
def test_a_port_range_must_make_sense(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(["--node-ports", text])
    assert "is not a port range" in capsys.readouterr().err


def test_limits_of_logs_are_the_kubelets_own_by_default() -> None:
    settings = parse_settings([])
    assert (settings.container_log_max_bytes, settings.container_log_max_files) == (10 << 20, 5)
    changed = parse_settings(["--container-log-max-size", "1.5Mi", "--container-log-max-files", "2"])
    assert (changed.container_log_max_bytes, changed.container_log_max_files) == (3 << 19, 2)


@pytest.mark.parametrize(
    ("flag", "text"), [("size", "many"), ("size", "0"), ("size", "-1Mi"), ("files", "1"), ("files", "x")]
)
def test_a_limit_of_logs_must_make_sense(flag: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings([f"--container-log-max-{flag}={text}"])
    assert "is not a" in capsys.readouterr().err


def test_unsafe_sysctls_are_those_that_a_pod_can_have_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    settings = parse_settings(["--allowed-unsafe-sysctls", "kernel.msg*,net.core.somaxconn"])
    assert settings.allowed_unsafe_sysctls == ("kernel.msg*", "net.core.somaxconn")
    with pytest.raises(SystemExit):
        parse_settings(["--allowed-unsafe-sysctls", "kernel.msgmax,vm.overcommit_memory"])
    assert "'vm.overcommit_memory' is not a sysctl that a pod can have of its own" in capsys.readouterr().err
