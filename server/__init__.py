"""The gRPC application: thin services over a pure domain, built by one composition root.

`server.domain` knows neither gRPC, SQL nor models. `server.services` knows protobuf and the domain.
`server.application` is the only module that knows everything.
"""
