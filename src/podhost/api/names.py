"""Rules for names, with Kubernetes' messages (``k8s.io/apimachinery/pkg/util/validation``).

Each check returns the messages of what is wrong; an empty list means valid.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Callable

NameCheck = Callable[[str], list[str]]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_LABEL_UNDERSCORE = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_UNDERSCORE = rf"{_LABEL_UNDERSCORE}(\.{_LABEL_UNDERSCORE})*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"

_UNDERSCORE_RE = re.compile(_UNDERSCORE, re.ASCII)
_LABEL_RE = re.compile(_LABEL, re.ASCII)
_SUBDOMAIN_RE = re.compile(_SUBDOMAIN, re.ASCII)
_LABEL_1035_RE = re.compile(_LABEL_1035, re.ASCII)
_QUALIFIED_RE = re.compile(_QUALIFIED, re.ASCII)
_LABEL_VALUE_RE = re.compile(f"({_QUALIFIED})?", re.ASCII)
_CONFIG_KEY_RE = re.compile("[-._a-zA-Z0-9]+", re.ASCII)
_ENV_RE = re.compile(r"[ -<>-~]+", re.ASCII)
_PORT_CHARS_RE = re.compile("[-a-z0-9]+", re.ASCII)
_PORT_LETTER_RE = re.compile("[a-z]", re.ASCII)

LABEL_MAX = 63
SUBDOMAIN_MAX = 253
CONFIG_KEY_MAX = 253
_GENERATED_CHARS = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own: no vowels, so no words, and nothing that looks like another."""
_GENERATED_LENGTH = 5


def max_length_message(length: int, unit: str = "characters") -> str:
    """Kubernetes says ``characters`` for DNS names and ``bytes`` for labels; both count bytes."""
    return f"must be no more than {length} {unit}"


def regex_message(message: str, pattern: str, *examples: str) -> str:
    """A message that shows the pattern, and examples of what would pass."""
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


_LABEL_MESSAGE = regex_message(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character",
    _LABEL,
    "my-name",
    "123-abc",
)
_SUBDOMAIN_MESSAGE = regex_message(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character",
    _SUBDOMAIN,
    "example.com",
)
_UNDERSCORE_MESSAGE = regex_message(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must "
    "start and end with an alphanumeric character",
    _UNDERSCORE,
    "example.com",
)
_LABEL_1035_MESSAGE = regex_message(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character",
    _LABEL_1035,
    "my-name",
    "abc-123",
)
_QUALIFIED_MESSAGE = regex_message(
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    _QUALIFIED,
    "MyName",
    "my.name",
    "123-abc",
)
_LABEL_VALUE_MESSAGE = regex_message(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character",
    f"({_QUALIFIED})?",
    "MyValue",
    "my_value",
    "12345",
)
_CONFIG_KEY_MESSAGE = regex_message(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    "[-._a-zA-Z0-9]+",
    "key.name",
    "KEY_NAME",
    "key-name",
)
_ENV_MESSAGE = "a valid environment variable name must consist only of printable ASCII characters other than '='"


def check_dns_label(value: str) -> list[str]:
    """RFC 1123 label."""
    messages = []
    if len(value.encode()) > LABEL_MAX:
        messages.append(max_length_message(LABEL_MAX))
    if not _LABEL_RE.fullmatch(value):
        if _SUBDOMAIN_RE.fullmatch(value):
            messages.append("must not contain dots")
        else:
            messages.append(_LABEL_MESSAGE)
    return messages


def check_dns_subdomain(value: str) -> list[str]:
    """RFC 1123 subdomain: the names of most objects."""
    messages = []
    if len(value.encode()) > SUBDOMAIN_MAX:
        messages.append(max_length_message(SUBDOMAIN_MAX))
    if not _SUBDOMAIN_RE.fullmatch(value):
        messages.append(_SUBDOMAIN_MESSAGE)
    return messages


def check_dns_subdomain_with_underscore(value: str) -> list[str]:
    """As some DNS search domains have."""
    messages = []
    if len(value.encode()) > SUBDOMAIN_MAX:
        messages.append(max_length_message(SUBDOMAIN_MAX))
    if not _UNDERSCORE_RE.fullmatch(value):
        messages.append(_UNDERSCORE_MESSAGE)
    return messages


def check_dns1035_label(value: str) -> list[str]:
    """RFC 1035 label: must not begin with a digit."""
    messages = []
    if len(value.encode()) > LABEL_MAX:
        messages.append(max_length_message(LABEL_MAX))
    if not _LABEL_1035_RE.fullmatch(value):
        messages.append(_LABEL_1035_MESSAGE)
    return messages


def check_qualified_name(value: str) -> list[str]:
    """``prefix/name``, as for label and annotation keys."""
    parts = value.split("/")
    messages: list[str] = []
    if len(parts) > 2:
        return [
            "a valid label key "
            + _QUALIFIED_MESSAGE
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    name = parts[-1]
    if len(parts) == 2:
        if not parts[0]:
            messages.append("prefix part must be non-empty")
        else:
            messages += ["prefix part " + message for message in _check_prefix(parts[0])]
    if not name:
        messages.append("name part must be non-empty")
    elif len(name.encode()) > LABEL_MAX:
        messages.append("name part " + max_length_message(LABEL_MAX, "bytes"))
    if not _QUALIFIED_RE.fullmatch(name):
        messages.append("name part " + _QUALIFIED_MESSAGE)
    return messages


def _check_prefix(value: str) -> list[str]:
    too_long = [max_length_message(SUBDOMAIN_MAX, "bytes")] if len(value.encode()) > SUBDOMAIN_MAX else []
    return too_long + ([] if _SUBDOMAIN_RE.fullmatch(value) else [_SUBDOMAIN_MESSAGE])


def check_label_value(value: str) -> list[str]:
    messages = []
    if len(value.encode()) > LABEL_MAX:
        messages.append(max_length_message(LABEL_MAX, "bytes"))
    if not _LABEL_VALUE_RE.fullmatch(value):
        messages.append(_LABEL_VALUE_MESSAGE)
    return messages


def check_path_segment(value: str) -> list[str]:
    """Names that stand in URLs and need not be DNS names."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{part}'" for part in ("/", "%") if part in value]


def check_port_name(value: str) -> list[str]:
    """IANA service name."""
    messages = []
    if len(value.encode()) > 15:
        messages.append(max_length_message(15))
    if not _PORT_CHARS_RE.fullmatch(value):
        messages.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not _PORT_LETTER_RE.search(value):
        messages.append("must contain at least one letter (a-z)")
    if "--" in value:
        messages.append("must not contain consecutive hyphens")
    if value and "-" in (value[0], value[-1]):
        messages.append("must not begin or end with a hyphen")
    return messages


def check_port_number(port: int) -> list[str]:
    return [] if 1 <= port <= 65535 else ["must be between 1 and 65535, inclusive"]


def check_env_name(value: str) -> list[str]:
    """Any printable ASCII but ``=`` (relaxed in 1.30)."""
    if not value:
        return ["environment variable name must be non-empty"]
    return [] if _ENV_RE.fullmatch(value) else [_ENV_MESSAGE]


def check_config_key(value: str) -> list[str]:
    """Keys of ConfigMaps and Secrets, which become file names."""
    messages = []
    if len(value.encode()) > CONFIG_KEY_MAX:
        messages.append(max_length_message(CONFIG_KEY_MAX))
    if not _CONFIG_KEY_RE.fullmatch(value):
        messages.append(_CONFIG_KEY_MESSAGE)
    return messages + _check_parent_reference(value)


def _check_parent_reference(value: str) -> list[str]:
    if value == ".":
        return ["must not be '.'"]
    if value == "..":
        return ["must not be '..'"]
    return ["must not start with '..'"] if value.startswith("..") else []


def check_ip(value: str) -> list[str]:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return []


def generate_name(base: str) -> str:
    """``base``, such as a ``metadata.generateName``, and five random characters, cut so that the whole fits a label."""
    suffix = "".join(secrets.choice(_GENERATED_CHARS) for _ in range(_GENERATED_LENGTH))
    return base[: LABEL_MAX - _GENERATED_LENGTH] + suffix
