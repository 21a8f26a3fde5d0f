"""The meaning of the Kubernetes API, pure: kinds, schema, defaulting, validation, patches, reasons."""
