"""Calls between the parts of the server, and to servers of others: what LUNA's HTTP client can run into."""

from __future__ import annotations

from server.errors.families import DeadlineExceeded, Unavailable
from server.errors.tree import LunaError


class BadUrl(LunaError):
    """'{url}' is not a valid address"""

    code = 3
    desc = "Invalid url"


class BrokenPayload(LunaError):
    """Body of the answer of '{url}' is broken: {message}"""

    code = 4
    desc = "Client payload error"


class FingerprintMismatch(LunaError):
    """TLS fingerprint of '{url}' is not the expected one"""

    code = 5
    desc = "Server fingerprint mismatch"


class SocketReadTimeout(DeadlineExceeded):
    """{method} '{url}': the answer could not be read in time"""

    code = 6
    desc = "Socket read timeout"


class SocketConnectTimeout(DeadlineExceeded):
    """{method} '{url}': the socket was not connected in time"""

    code = 7
    desc = "Socket connect timeout"


class ConnectTimeout(DeadlineExceeded):
    """{method} '{url}': no connection in time"""

    code = 8
    desc = "Connect timeout"


class ServerDisconnected(Unavailable):
    """'{url}' closed the connection"""

    code = 10
    desc = "Server disconnected"


class ProxyUnreachable(Unavailable):
    """The proxy before '{url}' cannot be reached: {message}"""

    code = 12
    desc = "Client proxy connection error"


class ConnectorTlsFailed(Unavailable):
    """TLS connection to '{url}' could not be made: {message}"""

    code = 13
    desc = "Client connector SSL error"


class CertificateRefused(Unavailable):
    """Certificate of '{url}' is not accepted: {message}"""

    code = 14
    desc = "Client connector certificate error"


class TlsFailed(Unavailable):
    """TLS failed on the connection to '{url}': {message}"""

    code = 15
    desc = "Client SSL error"


class NotConnected(Unavailable):
    """Connection to '{url}' could not be made: {message}"""

    code = 16
    desc = "Client connector error"


class NetworkFailed(Unavailable):
    """The operating system could not reach '{url}': {message}"""

    code = 17
    desc = "Client OS error"


class ConnectionFailed(Unavailable):
    """Connection to '{url}' failed: {message}"""

    code = 18
    desc = "Client connection error"


class ProxyRefused(Unavailable):
    """The HTTP proxy before '{url}' failed: {message}"""

    code = 19
    desc = "Client HTTP proxy error"


class HandshakeFailed(Unavailable):
    """WebSocket handshake with '{url}' failed: {message}"""

    code = 20
    desc = "WS server handshake error"


class UnexpectedContentType(Unavailable):
    """'{url}' answered with the unexpected content type '{content_type}'"""

    code = 21
    desc = "Content-Type error"


class UnusableResponse(Unavailable):
    """Answer of '{url}' cannot be used: {message}"""

    code = 22
    desc = "Client response error"
