"""Numeric work of tasks: packed descriptors, clusters, nearest neighbours, ROC curves.

Must not know where descriptors come from or what becomes of the results.
"""
