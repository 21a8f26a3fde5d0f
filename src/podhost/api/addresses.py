"""Addresses as API objects spell them."""

from __future__ import annotations

from ipaddress import IPv4Address


def is_ipv4(text: str) -> bool:
    """Whether it is an IPv4 address in the usual form; "None" of headless services is not."""
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True
