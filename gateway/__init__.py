"""What HTTP needs and protobuf has not: bodies, nulls, statuses, headers, the facade that Envoy transcodes to.

Everything is derived from the descriptors in `luna.v6`. Knows no resource, no storage and no engine.
"""
