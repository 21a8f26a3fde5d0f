"""How the containers of a pod talk: observed from outside, drawn, diagnosed.  Reads, never changes.

``snapshot`` reads facts from the kernel; ``build_graph`` and everything behind it (diagnosis, drawings) is pure.
Nothing here may start, stop or signal a process, or keep the event loop waiting.
"""
