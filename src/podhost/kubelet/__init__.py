"""Pods on this node: one worker a pod, decisions in ``pod_actions`` and ``pod_status``, which are pure.

Sees containers, images, volumes and the network only through ``podhost.cri``.
"""
