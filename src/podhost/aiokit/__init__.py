"""Small asyncio parts: clock, named tasks, keyed workers, work queue, back-off, failpoints.

Knows nothing of Kubernetes, containers or the kernel; the only folder that may create tasks.
"""
