"""What cgroup files say, in both versions, from directories that look like a hierarchy."""

from __future__ import annotations

from pathlib import Path

from podhost.linux.cgroup import CgroupLayout
from podhost.linux.usage import IoUse, parse_io_stat, parse_machine_cpu, read_cgroup_use


def write(directory: Path, **files: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)


def test_version_2_counts_microseconds_and_takes_inactive_files_off(tmp_path: Path) -> None:
    write(
        tmp_path / "pod",
        cpu__stat="usage_usec 1500\nuser_usec 1000\n",
        memory__current="5000\n",
        memory__stat="anon 1000\ninactive_file 1500\npgfault 7\npgmajfault 1\n",
        io__stat="8:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=5 wbytes=0 rios=1 wios=0\n",
        pids__current="3\n",
    )
    use = read_cgroup_use("/pod", CgroupLayout(2, False, frozenset(), tmp_path, {"": tmp_path}))
    assert (use.cpu_ns, use.pids, use.io) == (1_500_000, 3, IoUse(read_bytes=15, written_bytes=20))
    assert use.memory is not None
    assert (use.memory.working_set_bytes, use.memory.rss_bytes, use.memory.major_page_faults) == (3500, 1000, 1)


def test_version_1_reads_each_controller_and_the_totals_of_the_subtree(tmp_path: Path) -> None:
    layout = CgroupLayout(
        1, True, frozenset(), tmp_path, {name: tmp_path / name for name in ("cpuacct", "memory", "pids")}
    )
    write(tmp_path / "cpuacct/pod", cpuacct__usage="123\n")
    write(
        tmp_path / "memory/pod",
        memory__usage_in_bytes="5000\n",
        memory__stat="inactive_file 1\nrss 2\ntotal_inactive_file 6000\ntotal_rss 4000\ntotal_pgfault 9\n",
    )
    write(tmp_path / "pids/pod", pids__current="2\n", cgroup__procs="")
    use = read_cgroup_use("/pod", layout)
    assert (use.cpu_ns, use.pids, use.io) == (123, 2, None)
    assert use.memory is not None
    assert (use.memory.working_set_bytes, use.memory.rss_bytes, use.memory.page_faults) == (0, 4000, 9)


def test_a_cgroup_that_has_gone_has_used_nothing(tmp_path: Path) -> None:
    for layout in (
        CgroupLayout(2, False, frozenset(), tmp_path, {"": tmp_path}),
        CgroupLayout(1, False, frozenset(), tmp_path, {"memory": tmp_path}),
    ):
        use = read_cgroup_use("/gone", layout)
        assert (use.cpu_ns, use.memory, use.io, use.pids) == (None, None, None, None)


def test_a_device_without_counters_counts_as_nothing() -> None:
    assert parse_io_stat(["8:0 ", "259:0 rbytes=x wbytes=4"]) == IoUse(read_bytes=0, written_bytes=4)


def test_the_machine_is_busy_with_everything_but_waiting() -> None:
    assert parse_machine_cpu("cpu  1 2 3 400 500 6 7 80 1 0\ncpu0 9 9\n") == 19 * 10_000_000
