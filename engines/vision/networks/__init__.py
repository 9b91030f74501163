"""Adapters: how one published network is fed and read, behind the protocols of `engines.vision.tasks`.

Knows arrays and views of faces; must not know packs' folders, requests, or which runtime executes the network.
"""
