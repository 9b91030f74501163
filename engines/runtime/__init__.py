"""Runtimes: what executes a network. One protocol, one class per runtime that owns all of its policies.

Knows files and arrays; knows nothing of packs, pictures or faces.
"""
