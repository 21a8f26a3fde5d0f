"""IP addresses in API objects."""

from __future__ import annotations

import ipaddress

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.validation.metadata import invalid_all


def validate_ip(value: str, path: Path) -> list[FieldError]:
    return invalid_all(path, value, names.check_ip(value))


def validate_non_special_ip(value: str, path: Path) -> list[FieldError]:
    """Not usable as the address of an endpoint: it would reach into the node."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return [path.invalid(value, "must be a valid IP address")]
    if address.is_unspecified:
        return [path.invalid(value, f"may not be unspecified ({value})")]
    if address.is_loopback:
        return [path.invalid(value, "may not be in the loopback range (127.0.0.0/8, ::1/128)")]
    if address.is_link_local:
        return [path.invalid(value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")]
    if address.is_multicast and isinstance(address, ipaddress.IPv4Address) and value.startswith("224.0.0."):
        return [path.invalid(value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")]
    return []
