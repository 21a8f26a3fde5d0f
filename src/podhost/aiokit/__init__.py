"""asyncio building blocks: clock, named tasks, keyed workers, back-off, failpoints.  No Kubernetes here."""
