"""Side-by-side measurements, printed as ratios.  Run as root: ``python -m bench [NAME …]``; the names are in ``__main__``."""
