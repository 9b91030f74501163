"""The matching index: exact nearest faces under filters, kept in this process's memory.

`FollowingIndex` is the port `FaceIndex`; it follows a `FaceFeed`. Knows no SQL, no gRPC and no similarity.
"""
