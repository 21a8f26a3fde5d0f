"""Side-by-side measurements, printed as ratios.  Run as root: ``python -m bench [pod_start|footprint|requests]``."""
