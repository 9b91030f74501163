"""The inference engine over gRPC: the port `server.domain.engine.Engine` served by one process and used by others.

Knows the domain, gRPC and `luna.engine.v1`; knows no engine, no storage and no resource of the API.
"""
