"""Contracts between the kubelet and what runs containers, in the words of CRI v1.

Protocols and frozen dataclasses, and what the kernel counts put into them; no effect and no decision may live here.
"""
