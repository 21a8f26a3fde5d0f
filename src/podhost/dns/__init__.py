"""Cluster DNS: records from Services, EndpointSlices and Pods (pure), and a small server."""
