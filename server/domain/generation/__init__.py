"""Generating events: sources are looked at, persons are put together, compared, and stored as policies say.

`generation` is the way through; `request` is what comes in, `made` what comes out. Must not know messages or SQL.
"""
