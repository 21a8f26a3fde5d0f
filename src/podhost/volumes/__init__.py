"""Pod volumes: one module a kind; the mount plan is data."""
