"""Who does the work of an engine: threads of this process, or processes of its own.

Knows the pipeline and the runtimes; knows nothing of queues, deadlines or callers.
"""
