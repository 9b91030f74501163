"""Runtimes: what executes a network. One protocol, one class per runtime that owns all of its policies.

Knows files and arrays; knows nothing of packs, pictures or faces.
"""

from __future__ import annotations

import os

# ONNX Runtime has Microsoft's telemetry in it, which begins with its import. What recognises people tells nobody of it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
