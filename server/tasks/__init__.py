"""The kinds of tasks that workers do: how each is split, worked on and collected, over the domain and its ports.

Must not know storage, engines, SQL, numpy, gRPC or messages: what needs those comes through a port.
"""
