"""What the API answers when it cannot do a thing: ``metav1.Status``, word for word as Kubernetes.

The texts are those of ``k8s.io/apimachinery/pkg/api/errors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podhost.api.field_errors import FieldError, aggregate, go_quote

OPTIMISTIC_LOCK = "the object has been modified; please apply your changes to the latest version and try again"


class ApiError(Exception):
    """A failed request.  ``status`` is the Status document that the client gets, ``code`` its HTTP code."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.metadata = metadata or {}
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            # Even empty: kubectl looks into it without asking whether it is there.
            status["details"] = self.details
        return status | {"code": self.code}


def qualified(resource: str, group: str) -> str:
    """``pods``, ``deployments.apps``."""
    return f"{resource}.{group}" if group else resource


def _details(kind: str, group: str, name: str = "", **extra: Any) -> dict[str, Any]:
    details = {"name": name, "group": group, "kind": kind, **extra}
    return {key: value for key, value in details.items() if value}


def not_found(resource: str, name: str, group: str = "") -> ApiError:
    message = f"{qualified(resource, group)} {go_quote(name)} not found"
    return ApiError(404, "NotFound", message, _details(resource, group, name))


def path_not_found() -> ApiError:
    """No such API: what clients show for a path or kind that the server does not have."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: str, name: str, group: str = "") -> ApiError:
    message = f"{qualified(resource, group)} {go_quote(name)} already exists"
    return ApiError(409, "AlreadyExists", message, _details(resource, group, name))


def generated_name_taken(resource: str, name: str, group: str = "") -> ApiError:
    """Every name that was generated exists already; the client may try again."""
    error = already_exists(resource, name, group)
    detail = "the server was not able to generate a unique name for the object"
    return ApiError(
        409, "AlreadyExists", f"{error.message}, {detail}", {**(error.details or {}), "retryAfterSeconds": 1}
    )


def conflict(resource: str, name: str, group: str = "", detail: str = OPTIMISTIC_LOCK) -> ApiError:
    message = f"Operation cannot be fulfilled on {qualified(resource, group)} {go_quote(name)}: {detail}"
    return ApiError(409, "Conflict", message, _details(resource, group, name))


def apply_conflict(message: str, conflicts: Sequence[tuple[str, str]]) -> ApiError:
    """``conflicts``: (manager, path)."""
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": path}
        for manager, path in conflicts
    ]
    return ApiError(409, "Conflict", message, {"causes": causes})


def invalid(kind: str, group: str, name: str, errors: Sequence[FieldError]) -> ApiError:
    """422 with all causes.  ``kind`` is the kind (``Pod``), not the resource."""
    causes = [{"reason": error.type.value, "message": error.body, "field": error.field} for error in errors]
    message = f"{qualified(kind, group)} {go_quote(name)} is invalid"
    if errors:
        message += ": " + aggregate([error.message for error in errors])
    return ApiError(422, "Invalid", message, _details(kind, group, name, causes=causes))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(resource: str, name: str, detail: str, group: str = "") -> ApiError:
    what = qualified(resource, group)
    if not resource:
        message = f"forbidden: {detail}"
    elif not name:
        message = f"{what} is forbidden: {detail}"
    else:
        message = f"{what} {go_quote(name)} is forbidden: {detail}"
    return ApiError(403, "Forbidden", message, _details(resource, group, name))


def method_not_allowed(action: str, resource: str, group: str = "") -> ApiError:
    message = f"{action} is not supported on resources of kind {go_quote(qualified(resource, group))}"
    return ApiError(405, "MethodNotAllowed", message, _details(resource, group))


def http_method_not_allowed() -> ApiError:
    """The path exists, the HTTP method does not."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def gone(message: str) -> ApiError:
    return ApiError(410, "Gone", message)


def expired(
    message: str = "The resourceVersion for the provided watch is too old.", continue_token: str = ""
) -> ApiError:
    """``continue_token`` leads on all the same, in another state."""
    return ApiError(410, "Expired", message, metadata={"continue": continue_token} if continue_token else None)


def too_large_resource_version(requested: int, current: int) -> ApiError:
    """A client asks for a version that is not there yet; it may retry in a second."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {requested}, current: {current}"
    return ApiError(504, "Timeout", message, details)


def unsupported_media_type(accepted: Sequence[str]) -> ApiError:
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return ApiError(415, "UnsupportedMediaType", message, {})


def not_acceptable(accepted: Sequence[str]) -> ApiError:
    message = "only the following media types are accepted: " + ", ".join(accepted)
    return ApiError(406, "NotAcceptable", message, {})


def too_large(detail: str) -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: {detail}")


def patch_rejected(detail: str) -> ApiError:
    """A JSON patch that is well-formed and does not apply.  Kubernetes leaves the detail out."""
    message = f"the server rejected our request due to an error in our request: {detail}"
    return ApiError(422, "Invalid", message, {})


def internal_error(detail: str) -> ApiError:
    return ApiError(500, "InternalError", f"Internal error occurred: {detail}", {"causes": [{"message": detail}]})


def timeout(detail: str, retry_after_s: int = 0) -> ApiError:
    details = {"retryAfterSeconds": retry_after_s} if retry_after_s else {}
    return ApiError(504, "Timeout", f"Timeout: {detail}", details)


def service_unavailable(detail: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", detail)


def too_many_requests(message: str, retry_after_s: int = 1) -> ApiError:
    return ApiError(429, "TooManyRequests", message, {"retryAfterSeconds": retry_after_s})


def cannot_be_handled(kind: str, version: str, cause: str) -> ApiError:
    """The body does not decode.  ``version`` is ``v1`` or ``group/v1``; ``cause`` Go's decoding error."""
    return bad_request(f"{kind} in version {go_quote(version)} cannot be handled as a {kind}: {cause}")


def no_kind_match(kind: str, version: str) -> ApiError:
    """A body of a kind that the server does not know."""
    return bad_request(f"no kind {go_quote(kind)} is registered for version {go_quote(version)} in scheme")


def strict_decoding_error(errors: Sequence[str]) -> str:
    """``strict decoding error: unknown field "spec.foo", unknown field "spec.bar"``."""
    return "strict decoding error: " + ", ".join(dict.fromkeys(errors))
