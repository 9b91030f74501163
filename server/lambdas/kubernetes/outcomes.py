"""How a build ends, as the exit status of its container tells it to the process that watches it."""

from __future__ import annotations

FAILED = 1
"""For a reason that may pass: the network, an index that does not answer. It is tried again."""
BAD = 2
"""For a reason of its own: the archive, a package that may not be installed. Another try ends in the same way."""
REFUSED = 3
"""The host does not take its ticket: the Secret is an old one."""
