"""The Kubernetes API over HTTP: routes as data, verbs, watch, patch, tables, discovery, streams.

Knows objects and their store, never containers: what needs the node goes through ``podhost.cri.node``.
"""
