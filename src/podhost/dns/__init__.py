"""Cluster DNS: records from Services, EndpointSlices and Pods (pure), and a small server.

Names and types follow the Kubernetes DNS-based service discovery specification 1.1.0.  ``records`` and ``zone`` are
pure; ``responder`` turns a query into an answer without I/O, on dnspython; ``upstream`` and ``server`` have the
sockets.
"""
