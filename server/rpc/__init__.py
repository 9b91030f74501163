"""What every call passes through, native or from REST: validation, authorization, deadlines and errors.

Reads the options `luna.field` and `luna.access` of the protos. Knows gRPC and the domain, no storage and no engine.
"""
