"""Hosts that callers name: resolved once and judged, so that whoever connects goes to the address that was judged.

A name that changes between check and use gains nothing then.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import Executor
from functools import partial
from typing import Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_EMBEDDING: Final = [ipaddress.IPv6Network(one) for one in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")]
"""Networks whose last 32 bits are an IPv4 address that something on the way may turn it into: IPv4-compatible
(RFC 4291), IPv4-translated (RFC 2765) and NAT64 (RFC 6052)."""

_LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
"""Translation inside one network (RFC 8215). Older releases of Python take it for global."""


class NotPublic(Exception):
    """The address is not a public one."""


async def resolve(host: str, port: int, *, allow_private: bool, threads: Executor | None = None) -> Address:
    """The address to connect to.

    Args:
        host: a name, or an address in any notation that the system takes.
        port: a port.
        allow_private: every address is allowed; otherwise one that is not public refuses the host as a whole.
        threads: where names are looked up, which nobody can break off; None takes those that everything else has.

    Raises:
        NotPublic: an address of the host is not a public one.
        OSError, UnicodeError: there is no such host.
    """
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(threads, look_up)
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not allow_private and not all(is_public(address) for address in addresses):
        raise NotPublic("the address is not a public one")
    return addresses[0]


def is_public(address: Address) -> bool:
    """True for an address of the public internet: not private, loopback, link-local (cloud metadata), or reserved."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and any(address in network for network in _EMBEDDING):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address in _LOCAL_NAT64:
            return False
    return address.is_global and not address.is_multicast
