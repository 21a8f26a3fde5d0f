"""CRI RuntimeService on an OCI runtime and conmon; ``oci_spec`` is pure."""
