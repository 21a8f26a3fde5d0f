"""Public Python API and pytest plugin: Pods as test fixtures; a client of the HTTP API."""
