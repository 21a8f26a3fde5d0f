"""projected: several sources in one directory."""

from __future__ import annotations

from typing import Protocol

from podhost.api import models
from podhost.cri.volumes import ObjectReader, VolumeError
from podhost.volumes import downward_api, object_files
from podhost.volumes.plan import Payload, ProjectedFile
from podhost.volumes.settings import VolumeSettings

PROJECTED_PLUGIN = "kubernetes.io~projected"


class TokenIssuer(Protocol):
    """Makes ServiceAccount tokens that are bound to a pod."""

    def issue_pod_token(self, pod: models.Pod, audience: str, expiration_s: int) -> str:
        """A token that is still good for most of its life; the same one until it should be renewed."""


def read_payload(
    reader: ObjectReader,
    pod: models.Pod,
    source: models.ProjectedVolumeSource,
    settings: VolumeSettings,
    tokens: TokenIssuer | None,
) -> Payload:
    """Files of all sources together.

    Raises:
        VolumeError: From a source, or naming one that is not offered.
    """
    payload: dict[str, ProjectedFile] = {}
    for index, projection in enumerate(source.sources):
        payload.update(_read_source(reader, pod, source, projection, settings, tokens, index))
    return payload


def _read_source(
    reader: ObjectReader,
    pod: models.Pod,
    volume: models.ProjectedVolumeSource,
    source: models.VolumeProjection,
    settings: VolumeSettings,
    tokens: TokenIssuer | None,
    index: int,
) -> Payload:
    namespace = pod.metadata.namespace or ""
    mode, user = volume.default_mode, volume.default_user
    if source.config_map is not None:
        return object_files.read_config_map_payload(
            reader, namespace, source.config_map, default_mode=mode, default_user=user
        )
    if source.secret is not None:
        name = source.secret.name or ""
        return object_files.read_secret_payload(
            reader, namespace, name, source.secret, default_mode=mode, default_user=user
        )
    if source.downward_api is not None:
        return downward_api.compute_payload(
            pod, source.downward_api.items, settings, default_mode=mode, default_user=user
        )
    if source.service_account_token is not None and tokens is not None:
        token = source.service_account_token
        text = tokens.issue_pod_token(pod, token.audience or "", token.expiration_seconds or 3600)
        owner = token.user if token.user is not None else find_common_user(pod)
        shared = pod.spec.security_context
        if owner is not None or (shared is not None and shared.fs_group is not None):
            # Who may read it is known: nobody else may.
            mode = 0o600
        file_mode = object_files.DEFAULT_MODE if mode is None else mode
        return {token.path: ProjectedFile(data=text.encode(), mode=file_mode, uid=owner)}
    field = next((name for name in _UNOFFERED if getattr(source, _UNOFFERED[name]) is not None), "")
    raise VolumeError(f"projected.sources[{index}].{field} is not supported by podhost")


def find_common_user(pod: models.Pod) -> int | None:
    """The user that all containers of the pod say they run as; ``None`` when one does not, or says another."""
    shared = pod.spec.security_context
    default = shared.run_as_user if shared is not None else None
    users = set()
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        own = container.security_context
        users.add(own.run_as_user if own is not None and own.run_as_user is not None else default)
    return users.pop() if len(users) == 1 else None


_UNOFFERED = {
    "serviceAccountToken": "service_account_token",
    "clusterTrustBundle": "cluster_trust_bundle",
    "podCertificate": "pod_certificate",
}
