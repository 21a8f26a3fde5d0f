"""Small pure parts: messages of the OCI runtime, pod files, signals, paths, conmon's command line."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from podhost.api.qos import QosClass
from podhost.cri.ids import PodUID
from podhost.cri.runtime import DnsConfig, HostAlias, PodSandboxConfig
from podhost.errors import UnavailableError
from podhost.runtime.conmon import build_resize_message
from podhost.runtime.container_stop import parse_signal
from podhost.runtime.oci_runtime import build_argv, build_start_error, clean_message, drop_warnings
from podhost.runtime.sandbox_files import build_hosts, build_resolv_conf
from podhost.runtime.settings import RuntimePaths, RuntimeSettings, pod_cgroup_name

SETTINGS = RuntimeSettings(
    instance="i", data_dir=Path("/d"), run_dir=Path("/r"), cgroup_parent="/podhost/i", crun_path=Path("/usr/bin/crun")
)
PATHS = RuntimePaths(Path("/d"), Path("/r"), "/podhost/i")


@pytest.mark.parametrize(
    ("text", "command", "wanted"),
    [
        (
            "executable file `nope` not found in $PATH: No such file or directory",
            "nope",
            'exec: "nope": executable file not found in $PATH',
        ),
        (
            'unable to start container process: exec: "nope": executable file not found in $PATH',
            "nope",
            'exec: "nope": executable file not found in $PATH',
        ),
        (
            "executable file `/x/y` not found: No such file or directory",
            "/x/y",
            'exec: "/x/y": stat /x/y: no such file or directory',
        ),
        ("open executable: Permission denied", "/x", 'exec: "/x": permission denied'),
        (
            "2026-11-23T17:12:36.931198Z: mount `proc` to `proc`: Operation not permitted",
            "sh",
            "crun create failed: mount `proc` to `proc`: Operation not permitted",
        ),
        ("", "sh", "no message"),
        (
            'time="2026-11-23T17:50:52Z" level=error msg="runc create failed: exec: \\"nope\\": executable file not found"',
            "nope",
            'exec: "nope": executable file not found in $PATH',
        ),
    ],
)
def test_refusal_is_told_in_the_fields_words(text: str, command: str, wanted: str) -> None:
    error = build_start_error(SETTINGS.runtime(), text, command)
    assert str(error).endswith(wanted)
    assert (error.exit_code, error.reason) == (128, "StartError")


def test_log_format_is_taken_from_messages() -> None:
    assert clean_message("2026-11-23T17:12:36.931198Z: one\n[conmon:e]: noise\ntwo\n") == "one; two"


def test_warnings_are_no_failure() -> None:
    warning = 'time="2026-11-23T17:50:52Z" level=warning msg="cannot find a cpuset"'
    error = 'time="2026-11-23T17:50:52Z" level=error msg="exec failed: no"'
    assert drop_warnings(f"{warning}\n{error}\nwrite to sync socket: Broken pipe\n") == (
        f"{error}\nwrite to sync socket: Broken pipe"
    )


def test_missing_runtime_is_told() -> None:
    settings = RuntimeSettings(instance="i", data_dir=Path("/d"), run_dir=Path("/r"), cgroup_parent="/p")
    with pytest.raises(UnavailableError, match="neither crun nor runc"):
        settings.runtime()


def test_runc_gets_no_flags_of_crun() -> None:
    settings = RuntimeSettings(
        instance="i", data_dir=Path("/d"), run_dir=Path("/r"), cgroup_parent="/p", runc_path=Path("/usr/bin/runc")
    )
    assert build_argv(settings.runtime(), PATHS, "start", "x") == ["/usr/bin/runc", "--root", "/r/oci", "start", "x"]


def test_handlers_are_those_installed_and_those_configured() -> None:
    settings = replace(SETTINGS, runc_path=Path("/usr/bin/runc"), handlers={"gvisor": Path("/opt/runsc")})
    found = {name: str(runtime.path) for name, runtime in settings.all_handlers().items()}
    assert found == {"": "/usr/bin/crun", "crun": "/usr/bin/crun", "runc": "/usr/bin/runc", "gvisor": "/opt/runsc"}
    assert [settings.runtime(name).kind for name in ("", "runc", "gvisor")] == ["crun", "runc", "runc"]
    with pytest.raises(UnavailableError, match=r'^no runtime for "kata" is configured$'):
        settings.runtime("kata")


def config(**changes: object) -> PodSandboxConfig:
    given: dict[str, object] = {
        "namespace": "n",
        "name": "p",
        "uid": PodUID("u"),
        "hostname": "p",
        "log_directory": Path("/l"),
    }
    return PodSandboxConfig(**(given | changes))  # type: ignore[arg-type]


def test_hosts_of_a_pod() -> None:
    text = build_hosts(config(), ("10.0.0.1", "fd00::1"), "host")
    assert text.splitlines()[:3] == [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
    ]
    assert text.endswith("fe00::2\tip6-allrouters\n10.0.0.1\tp\nfd00::1\tp\n")


def test_hosts_of_a_pod_whose_hostname_is_fully_qualified_have_its_short_name_too() -> None:
    for names in ({"hostname": "p"}, {"hostname": "p.s.n", "short_hostname": "p"}):
        assert build_hosts(config(fqdn="p.s.n", **names), ("10.0.0.1",), "").endswith("\n10.0.0.1\tp.s.n\tp\n")


def test_hosts_on_the_hosts_network() -> None:
    aliases = (HostAlias(ip="1.1.1.1", hostnames=("a", "b")),)
    text = build_hosts(config(host_network=True, host_aliases=aliases), (), "127.0.0.1 host\n")
    assert text == (
        "# Kubernetes-managed hosts file (host network).\n127.0.0.1 host\n"
        "\n# Entries added by HostAliases.\n1.1.1.1\ta\tb\n"
    )


def test_resolv_conf() -> None:
    dns = DnsConfig(servers=("1.1.1.1", "2.2.2.2"), searches=("a", "b"), options=("ndots:5",))
    assert build_resolv_conf(dns, "host") == "search a b\nnameserver 1.1.1.1\nnameserver 2.2.2.2\noptions ndots:5\n"
    assert build_resolv_conf(DnsConfig(), "nameserver 9.9.9.9\n") == "nameserver 9.9.9.9\n"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", 15),
        ("term", 15),
        ("9", 9),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("RTMIN", signal.SIGRTMIN),
        ("nonsense", 15),
        ("0", 15),
        ("999", 15),
        ("", 15),
        ("WINCH", signal.SIGWINCH),
    ],
)
def test_signals_are_read(text: str, number: int) -> None:
    assert parse_signal(text) == number


def test_uid_that_is_no_name_cannot_leave_the_cgroup_parent() -> None:
    assert pod_cgroup_name(PodUID("abc-1")) == "podabc-1"
    assert "/" not in pod_cgroup_name(PodUID("../../x"))


@pytest.mark.parametrize(
    ("qos_class", "place"), [("Guaranteed", ""), ("Burstable", "burstable/"), ("BestEffort", "besteffort/")]
)
def test_the_cgroup_of_a_pod_is_below_that_of_its_class(qos_class: QosClass, place: str) -> None:
    config = PodSandboxConfig(
        namespace="n", name="p", uid=PodUID("u"), hostname="p", log_directory=Path("/l"), qos_class=qos_class
    )
    assert PATHS.pod_cgroup(config) == f"/podhost/i/{place}podu"


def test_resize_message_has_height_first() -> None:
    assert build_resize_message(80, 24) == "1 24 80\n"
