"""Level-triggered loops on API objects; they read and write the store and nothing else."""
