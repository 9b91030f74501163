"""The matching indexes: exact nearest faces or events under filters, kept in this process's memory.

`FollowingIndex` is the port `Index`; it follows a `Feed`. Knows no SQL, no gRPC and no similarity.
"""
