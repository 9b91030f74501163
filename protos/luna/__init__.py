"""Generated protobuf and gRPC code of the `luna.v6` API. Never edited: `scripts/protos` makes it from the protos."""
