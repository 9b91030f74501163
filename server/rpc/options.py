"""Options of gRPC servers and channels: the same at both ends of every connection."""

from __future__ import annotations

METADATA_BYTES = 64 << 10
"""Largest metadata, the details of an error included."""

PING_MS = 30_000
"""How often a silent connection is asked whether it is still there."""

PENDING = 20_000
"""Calls that may wait to be begun. Of more than its own thousand gRPC drops some without a word about when to come
back, and here each is told. What they have sent is bounded by the windows of their connections, not by their number."""


def server_options(max_message_bytes: int) -> list[tuple[str, int]]:
    """Options of a server."""
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.server.max_pending_requests", PENDING),
        ("grpc.server.max_pending_requests_hard_limit", 2 * PENDING),
        # a second server on the port would take half of the calls unseen
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", PING_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]
