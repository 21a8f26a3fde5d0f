from __future__ import annotations

import pytest

from podhost.apiserver.limits import RequestLimits
from podhost.daemon.app import compute_limits
from podhost.daemon.settings import find_ready_fd, parse_settings
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
def test_a_port_range_must_make_sense(text: str) -> None:
    with pytest.raises(InvalidError, match="is not a port range"):
        parse_settings(["--node-ports", text])


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--api-port", "99999", "'99999' is not a port"),
        ("--api-port", "-1", "'-1' is not a port"),
        ("--pod-cidr", "banana", "'banana' is not an IPv4 network"),
        ("--pod-cidr", "10.1.2.3/16", "has host bits set"),
        ("--service-cidr", "fd00::/64", "'fd00::/64' is not an IPv4 network"),
        ("--bridge", "much-too-long-for-a-device", "is not a device's name"),
        ("--node-name", "My_Node", "'My_Node' is not a node's name: a lowercase RFC 1123 subdomain"),
        ("--eviction-hard", "memory.available>1Gi", "malformed pair, expect string<string"),
        ("--eviction-minimum-reclaim", "nodefs.available<1Gi", "malformed pair, expect string=string"),
        ("--no-such-flag", "x", "unrecognized arguments"),
        ("--request-timeout", "0s", "'0s' is not a duration such as 1m"),
        ("--max-streams-per-user", "0", "'0' is not a number of at least 1"),
    ],
)
def test_a_flag_that_cannot_be_used_is_said_in_one_line(flag: str, value: str, message: str) -> None:
    with pytest.raises(InvalidError, match="cannot use the flags: ") as caught:
        parse_settings([flag, value])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "fd"),
    [(["--pod-cidr", "x", "--ready-fd", "5"], 5), (["--ready-fd=7"], 7), ([], None), (["--ready-fd", "x"], None)],
)
def test_who_starts_the_daemon_is_found_among_flags_that_cannot_be_used(argv: list[str], fd: int | None) -> None:
    assert find_ready_fd(argv) == fd


def test_limits_of_logs_are_the_kubelets_own_by_default() -> None:
    settings = parse_settings([])
    assert (settings.container_log_max_bytes, settings.container_log_max_files) == (10 << 20, 5)
    changed = parse_settings(["--container-log-max-size", "1.5Mi", "--container-log-max-files", "2"])
    assert (changed.container_log_max_bytes, changed.container_log_max_files) == (3 << 19, 2)


@pytest.mark.parametrize(
    ("flag", "text"), [("size", "many"), ("size", "0"), ("size", "-1Mi"), ("files", "1"), ("files", "x")]
)
def test_a_limit_of_logs_must_make_sense(flag: str, text: str) -> None:
    with pytest.raises(InvalidError, match="is not a"):
        parse_settings([f"--container-log-max-{flag}={text}"])


def test_thresholds_of_eviction_come_from_the_kubelets_flags() -> None:
    assert len(parse_settings([]).eviction_thresholds) == 5
    assert parse_settings(["--eviction-hard", ""]).eviction_thresholds == ()
    flags = ["--eviction-hard=pid.available<10%", "--eviction-soft=memory.available<1Gi", "--eviction-minimum-reclaim"]
    flags += ["pid.available=5%", "--eviction-soft-grace-period=memory.available=1m30s"]
    settings = parse_settings([*flags, "--eviction-max-pod-grace-period", "-1"])
    assert [(each.signal, each.grace_s) for each in settings.eviction_thresholds] == [
        ("pid.available", 0.0),
        ("memory.available", 90.0),
    ]
    assert settings.eviction_thresholds[0].min_reclaim is not None
    assert settings.eviction_max_pod_grace_s == -1


def test_soft_threshold_without_a_grace_period_is_refused() -> None:
    with pytest.raises(InvalidError, match="grace period must be specified for the soft eviction threshold memory"):
        parse_settings(["--eviction-soft", "memory.available<1Gi"])


def test_unsafe_sysctls_are_those_that_a_pod_can_have_of_its_own() -> None:
    settings = parse_settings(["--allowed-unsafe-sysctls", "kernel.msg*,net.core.somaxconn"])
    assert settings.allowed_unsafe_sysctls == ("kernel.msg*", "net.core.somaxconn")
    with pytest.raises(InvalidError, match=r"'vm\.overcommit_memory' is not a sysctl that a pod can have of its own"):
        parse_settings(["--allowed-unsafe-sysctls", "kernel.msgmax,vm.overcommit_memory"])


def test_help_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings(["--help"])
    assert ended.value.code == 0
    assert "nodefs.inodesFree<5%" in "".join(capsys.readouterr().out.split())


def test_limits_of_clients_are_kube_apiservers_by_default_and_containers_keep_half_of_the_descriptors() -> None:
    usual = compute_limits(parse_settings([]), 1 << 20)
    assert usual == RequestLimits()
    flags = ["--max-streams-per-user=9", "--max-connections-per-client=8", "--request-timeout=2m"]
    limits = compute_limits(parse_settings([*flags, "--min-request-timeout=7"]), 1024)
    assert (limits.streams_per_user, limits.connections_per_peer, limits.connections) == (9, 8, 512)
    assert (limits.body_s, limits.answer_s, limits.min_watch_s) == (120.0, 120.0, 7.0)
    assert [
        compute_limits(parse_settings([f"--streaming-connection-idle-timeout={text}"]), 1024).stall_s
        for text in ("5m", "0")
    ] == [300.0, None]
