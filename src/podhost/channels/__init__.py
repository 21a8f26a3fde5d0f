"""Observes how the containers of a pod talk; reads, never changes."""
