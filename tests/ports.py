"""Ports for servers that tests start."""

from __future__ import annotations

import os
import random
import socket

FIRST, END = 12_000, 32_000
"""Below what kernels give to clients by themselves: no connection of a test can take the port of a server to come."""


def free_ports(count: int) -> list[int]:
    """Neighbouring ports on loopback that nobody listens on. Processes of one run of pytest-xdist never share any."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    width = (END - FIRST) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = FIRST + worker * width
    draw = random.SystemRandom()  # Hypothesis gives the other one the same seed in every process
    while True:
        port = draw.randrange(first, first + width - count + 1)
        ports = list(range(port, port + count))
        if all(_free(number) for number in ports):
            return ports


def _free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
