"""A pod's volumes: one module a kind.  What to mount is data (`plan`); applying it is the edge."""
