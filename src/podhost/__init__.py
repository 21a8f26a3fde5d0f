"""podhost: Kubernetes Pods on one Linux machine, straight from their manifests."""

__version__ = "0.1.0"
