"""A small HTTP client of the Kubernetes API, and kubeconfig.  Light: the CLI's start depends on it."""
