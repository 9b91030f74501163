"""The services of `luna.v6`: each method converts, makes one call to the domain, and converts back.

Knows protobuf and the domain. Who calls has been decided before, and limits have been checked.
"""
