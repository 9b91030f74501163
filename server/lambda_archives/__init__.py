"""Archives of lambdas: read without trust, and looked at before anything is kept or built.

Looking takes a process of its own (`server.lambda_archives.__main__`), which imports little and is held by limits. It
knows no transport, no storage, and none of the domain but the rules of ZIP entries.
"""
