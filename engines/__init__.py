"""Numeric work: model packs, runtimes (ONNX Runtime, TensorRT), the vision pipeline and the matching index.

Implements ports of `server.domain`. Knows no gRPC, no HTTP and no database.
"""
