"""Reading a trace of system calls: entries and exits of many threads, mixed."""

from __future__ import annotations

import os

from podhost.linux.syscall_trace import MissedLookup, count_missed_lookups, parse_missed, read_name, read_process

TRACE = """\
# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
             ipc-101     [000] .....   611.924870: sys_msgget(key: 0x6970630a, msgflg: 0x180)
         my prog-202     [001] .....   611.924871: sys_msgget(key: 7, msgflg: 0)
         my prog-202     [001] .....   611.924880: sys_msgget -> 0x3
             ipc-101     [001] .....   611.924887: sys_msgget -> 0xfffffffffffffffe
             ipc-101     [000] .....   612.024870: sys_msgget(key: 0x6970630a, msgflg: 0x180)
             ipc-101     [000] .....   612.024887: sys_msgget -> 0xfffffffffffffffe
         (b)[0]: -303     [000] .....   612.024902: sys_mq_open(u_name: 0x7fea933b2ab1, oflag: 0, mode: 0, u_attr: 0)
         (b)[0]: -303     [000] .....   612.024911: sys_mq_open -> 0xfffffffffffffffe
             ipc-101     [000] .....   612.124870: sys_semget(key: 9, nsems: 1, semflg: 0)
             ipc-101     [000] .....   612.124887: sys_semget -> 0xfffffffffffffff3
          late-404     [000] .....   612.124888: sys_shmget -> 0xfffffffffffffffe
"""


def test_only_calls_that_ended_with_enoent_and_were_seen_whole_are_told() -> None:
    assert list(parse_missed(TRACE.splitlines())) == [
        (101, "msgget", 0x6970630A),
        (101, "msgget", 0x6970630A),
        (303, "mq_open", 0x7FEA933B2AB1),
    ]


def test_equal_calls_are_counted_and_threads_belong_to_processes() -> None:
    found = count_missed_lookups(TRACE, lambda pid, address: f"/{pid}-{address:x}", lambda thread: thread - 1)
    assert found == [
        MissedLookup(pid=100, call="msgget", count=2, key=0x6970630A),
        MissedLookup(pid=302, call="mq_open", count=1, name="/303-7fea933b2ab1"),
    ]


def test_keys_are_unsigned_also_where_the_kernel_shows_them_signed() -> None:
    line = (
        "x-1 [000] ..... 1.0: sys_msgget(key: 0xffffffff80000001, msgflg: 0)\nx-1 [000] ..... 1.1: sys_msgget -> 0x{:x}"
    )
    (found,) = count_missed_lookups(line.format((1 << 64) - 2), lambda *_: "", lambda thread: thread)
    assert found.key == 0x80000001


def test_what_cannot_be_read_any_more_has_a_word_instead_of_a_name() -> None:
    assert read_name(os.getpid(), 0) == "(name unknown)"
    assert read_name(2**22 + 1, 4096) == "(name unknown)"
    assert read_process(os.getpid()) == os.getpid()
    assert read_process(2**22 + 1) == 2**22 + 1
