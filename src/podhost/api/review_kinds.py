"""Questions and orders in the form of objects: they are created, answered and forgotten."""

from __future__ import annotations

from podhost.api.kind import Kind

AUTHENTICATION, AUTHORIZATION = "authentication.k8s.io", "authorization.k8s.io"


def _review(kind: str, group: str, *, namespaced: bool = False) -> Kind:
    family = group.partition(".")[0]
    return Kind(
        kind=kind,
        group=group,
        version="v1",
        plural=f"{kind.lower()}s",
        singular=kind.lower(),
        schema=f"io.k8s.api.{family}.v1.{kind}",
        namespaced=namespaced,
        verbs=("create",),
    )


TOKEN_REVIEW = _review("TokenReview", AUTHENTICATION)
SELF_SUBJECT_REVIEW = _review("SelfSubjectReview", AUTHENTICATION)
SUBJECT_ACCESS_REVIEW = _review("SubjectAccessReview", AUTHORIZATION)
SELF_SUBJECT_ACCESS_REVIEW = _review("SelfSubjectAccessReview", AUTHORIZATION)
LOCAL_SUBJECT_ACCESS_REVIEW = _review("LocalSubjectAccessReview", AUTHORIZATION, namespaced=True)
SELF_SUBJECT_RULES_REVIEW = _review("SelfSubjectRulesReview", AUTHORIZATION)
REVIEW_KINDS = (
    TOKEN_REVIEW,
    SELF_SUBJECT_REVIEW,
    SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW,
    LOCAL_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
)
TOKEN_REQUEST = Kind(
    kind="TokenRequest",
    group=AUTHENTICATION,
    version="v1",
    plural="tokenrequests",
    singular="tokenrequest",
    schema="io.k8s.api.authentication.v1.TokenRequest",
    verbs=("create",),
)
"""The body of ``serviceaccounts/token``; no resource of its own."""
EVICTION = Kind(
    kind="Eviction",
    group="policy",
    version="v1",
    plural="evictions",
    singular="eviction",
    schema="io.k8s.api.policy.v1.Eviction",
    verbs=("create",),
)
"""The body of ``pods/eviction``; no resource of its own."""
BINDING = Kind(
    kind="Binding",
    group="",
    version="v1",
    plural="bindings",
    singular="binding",
    schema="io.k8s.api.core.v1.Binding",
    verbs=("create",),
)
"""The body of ``pods/binding``, and a resource of its own that does the same."""
UNSTORED_KINDS = (*REVIEW_KINDS, BINDING)
"""Created and acted upon; there is nothing to read."""
