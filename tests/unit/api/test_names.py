"""Names are checked with Kubernetes' messages."""

from __future__ import annotations

import pytest

from podhost.api import names

_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


@pytest.mark.parametrize("name", ["a", "a-b", "a.b-c.d", "1st", "x" * 253])
def test_subdomains_are_accepted(name: str) -> None:
    assert names.check_dns_subdomain(name) == []


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a..b", "a\n", "ä"])
def test_what_is_no_subdomain_gets_the_whole_rule(name: str) -> None:
    assert names.check_dns_subdomain(name) == [_SUBDOMAIN]


def test_length_counts_first() -> None:
    assert names.check_dns_subdomain("x" * 254) == ["must be no more than 253 characters"]
    assert names.check_dns_label("x" * 64) == ["must be no more than 63 characters"]


def test_a_label_with_dots_says_so() -> None:
    assert names.check_dns_label("a.b") == ["must not contain dots"]


@pytest.mark.parametrize("key", ["app", "app.kubernetes.io/name", "A_b.C-d", "x/y"])
def test_label_keys_are_accepted(key: str) -> None:
    assert names.check_qualified_name(key) == []


@pytest.mark.parametrize(
    ("key", "start"),
    [
        ("", "name part must be non-empty"),
        ("/x", "prefix part must be non-empty"),
        ("x" * 64, "name part must be no more than 63 bytes"),
        ("a/b/c", "a valid label key must consist of"),
        ("Bad/x", "prefix part a lowercase RFC 1123 subdomain"),
        ("-x", "name part must consist of"),
    ],
)
def test_bad_label_keys_are_explained(key: str, start: str) -> None:
    assert names.check_qualified_name(key)[0].startswith(start)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("averyveryverylongname", "must be no more than 15 characters"),
        ("HTTP", "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
        ("80", "must contain at least one letter (a-z)"),
        ("a--b", "must not contain consecutive hyphens"),
        ("-a", "must not begin or end with a hyphen"),
    ],
)
def test_port_names_follow_iana(name: str, message: str) -> None:
    assert message in names.check_port_name(name)


def test_config_keys_become_file_names() -> None:
    assert names.check_config_key("game.properties") == []
    assert names.check_config_key("..") == ["must not be '..'"]
    assert names.check_config_key("..data") == ["must not start with '..'"]
    assert names.check_config_key("a/b")[0].startswith("a valid config key must consist of")


def test_environment_names_may_be_nearly_anything() -> None:
    assert names.check_env_name("my.env-NAME 1") == []
    assert names.check_env_name("") == ["environment variable name must be non-empty"]
    assert "other than '='" in names.check_env_name("a=b")[0]


def test_generated_names_fit_a_label() -> None:
    name = names.generate_name("x" * 70)
    assert (name[:58], len(name)) == ("x" * 58, 63)
    assert names.check_dns_label(name) == []
    assert names.generate_name("job-")[:4] == "job-"
