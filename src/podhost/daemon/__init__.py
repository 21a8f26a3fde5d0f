"""Composition root: settings, instance, start order, stop in reverse, sockets, signals.

The only folder that knows all others; nothing is decided here.
"""
