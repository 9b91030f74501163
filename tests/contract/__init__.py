"""The contract, driven through the real Envoy and through gRPC."""
