"""Who may do what: the kinds of ``rbac.authorization.k8s.io``."""

from __future__ import annotations

from podhost.api import access_columns as tables
from podhost.api import names
from podhost.api.kind import Kind
from podhost.api.rbac import GROUP
from podhost.api.validation import rbac

_SCHEMA = "io.k8s.api.rbac.v1."

ROLE = Kind(
    kind="Role",
    group=GROUP,
    version="v1",
    plural="roles",
    singular="role",
    schema=_SCHEMA + "Role",
    check_name=names.check_path_segment,
    validate_create=rbac.validate_role,
    validate_update=rbac.validate_role_update,
    columns=tables.ROLE_COLUMNS,
    row=tables.role_row,
)
ROLE_BINDING = Kind(
    kind="RoleBinding",
    group=GROUP,
    version="v1",
    plural="rolebindings",
    singular="rolebinding",
    schema=_SCHEMA + "RoleBinding",
    check_name=names.check_path_segment,
    default=rbac.default_binding,
    validate_create=rbac.validate_role_binding,
    validate_update=rbac.validate_role_binding_update,
    columns=tables.BINDING_COLUMNS,
    row=tables.binding_row,
)
CLUSTER_ROLE = Kind(
    kind="ClusterRole",
    group=GROUP,
    version="v1",
    plural="clusterroles",
    singular="clusterrole",
    schema=_SCHEMA + "ClusterRole",
    namespaced=False,
    check_name=names.check_path_segment,
    validate_create=rbac.validate_cluster_role,
    validate_update=rbac.validate_cluster_role_update,
    columns=tables.ROLE_COLUMNS,
    row=tables.role_row,
)
CLUSTER_ROLE_BINDING = Kind(
    kind="ClusterRoleBinding",
    group=GROUP,
    version="v1",
    plural="clusterrolebindings",
    singular="clusterrolebinding",
    schema=_SCHEMA + "ClusterRoleBinding",
    namespaced=False,
    check_name=names.check_path_segment,
    default=rbac.default_binding,
    validate_create=rbac.validate_cluster_role_binding,
    validate_update=rbac.validate_cluster_role_binding_update,
    columns=tables.CLUSTER_BINDING_COLUMNS,
    row=tables.binding_row,
)
ACCESS_KINDS = (ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING)
