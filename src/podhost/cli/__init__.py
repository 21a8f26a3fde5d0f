"""The command ``podhost``: one module a command; a client of the HTTP API like any other.

Never imports the engine: the daemon is started as its own process (``python -m podhost.daemon``).
"""
