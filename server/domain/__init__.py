"""What Luna does, free of transport and technology.

Value types, rules and the ports that storage and engines implement. Knows no gRPC, no SQL, no model code.
"""
