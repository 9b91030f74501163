"""Kinds of tasks: what workers do of each, as splitting, working and collecting.

They know the domain and its ports, and neither transport, storage nor engines.
"""
