"""Looks at one archive: a line of JSON with the rules, then the archive, come in; a JSON list of problems goes out.

The archive and the source in it are a stranger's. Before the first byte of them is read, this process gives up what it
does not need: it cannot write files, start processes or take more than so much memory and time.
"""

from __future__ import annotations

import json
import os
import resource
import sys

from server.lambda_archives.checking import problems_of
from server.lambda_archives.reading import ArchiveRules

MEMORY_BYTES = 768 << 20
"""Address space beside the archive itself, which is there a few times."""
CPU_SECONDS = 10


def main() -> None:
    """Look at what stands in the standard input."""
    said = json.loads(sys.stdin.buffer.readline())
    rules = ArchiveRules(**{**said, "requirements": tuple(said["requirements"])})
    limits = {
        resource.RLIMIT_AS: MEMORY_BYTES + 4 * rules.bytes,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 8,
        resource.RLIMIT_NPROC: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    os.nice(5)
    problems = problems_of(sys.stdin.buffer.read(rules.bytes + 1), rules)
    sys.stdout.write(json.dumps(problems))


if __name__ == "__main__":
    main()
