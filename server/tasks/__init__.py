"""Kinds of tasks: what a worker does in each step of one. Everything that they work with comes in by ports.

Must not know the queue, SQL, or how a result is asked for.
"""
