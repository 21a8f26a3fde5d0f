"""Reports of health."""

from __future__ import annotations

from podhost.apiserver.health import build_report

CHECKS = {"ping": lambda: True, "etcd": lambda: False}


def test_a_failed_check_fails_the_whole() -> None:
    assert build_report("livez", CHECKS, ()) == (
        False,
        "[+]ping ok\n[-]etcd failed: reason withheld\nlivez check failed\n",
    )


def test_checks_can_be_excluded() -> None:
    assert build_report("readyz", CHECKS, ("etcd", "other")) == (
        True,
        "[+]ping ok\n[+]etcd excluded: ok\n"
        'warn: some health checks cannot be excluded: no matches for "other"\nreadyz check passed\n',
    )
