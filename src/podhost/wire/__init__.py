"""Protocol cores without I/O, for both ends of a connection: bytes in, events or bytes out.

Only the standard library may be imported: the CLI uses them, and starts in milliseconds.
"""
