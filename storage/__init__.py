"""PostgreSQL, Redis and blobs, their migrations and the embedded servers.

Implements ports of `server.domain`. Knows no gRPC, no HTTP and no models.
"""
