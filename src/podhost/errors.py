"""Internal kinds of failure, for everything below the API.

Messages read "cannot X: cause", quote values, and are chained with ``from``.  The API's own errors
(``metav1.Status``) are in :mod:`podhost.api.errors`; one table in the API server maps these to those.
"""

from __future__ import annotations


class PodhostError(Exception):
    """Something that podhost was asked to do could not be done."""


class NotFoundError(PodhostError):
    """The named thing does not exist."""


class ExistsError(PodhostError):
    """The named thing exists already."""


class InvalidError(PodhostError):
    """The request can never succeed as it stands."""


class ConflictError(PodhostError):
    """The state has changed in between, or is in use; read again, then decide."""


class UnavailableError(PodhostError):
    """Not possible at this moment (a registry or a runtime does not answer); a retry may succeed."""


class ExhaustedError(PodhostError):
    """A resource of the host is used up: disk, addresses, ports, memory."""


class DeniedError(PodhostError):
    """The host or a remote side refuses permission."""


def describe_cause(error: BaseException) -> str:
    """The cause in a message "cannot X: cause".

    What the kernel refuses reads as in Go, without Python's number: ``/var/x: no space left on device``.
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    text = error.strerror[:1].lower() + error.strerror[1:]
    return f"{error.filename}: {text}" if isinstance(error.filename, str) else text
