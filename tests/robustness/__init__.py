"""Faults and bad input against the whole service: what was acknowledged stays, and what is bad is refused."""
