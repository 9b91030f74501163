"""Parts of the server that are switched off or not installed.

The request is allowed and correct, and this server cannot serve it: 403 in LUNA, FAILED_PRECONDITION in gRPC.
"""

from __future__ import annotations

from server.errors.families import Forbidden, InvalidInput
from server.errors.tree import GrpcCode, LunaError


class FeatureOff(LunaError):
    """'{feature}' needs {needs}, which is not installed on this server"""

    code = 11055
    desc = "Forbidden"
    status = 403
    grpc = GrpcCode.FAILED_PRECONDITION


class FunctionOff(Forbidden):
    """'{function}' is switched off on this server"""

    code = 11044
    grpc = GrpcCode.FAILED_PRECONDITION


class EventsOff(FunctionOff):
    """The Events part is switched off on this server"""

    code = 11040


class TasksOff(FunctionOff):
    """The Tasks part is switched off on this server"""

    code = 11039


class SenderOff(FunctionOff):
    """The sender part is switched off on this server"""

    code = 11042


class LivenessOff(FunctionOff):
    """The liveness part is switched off on this server: it needs {needs}"""

    code = 11054


class ImageStoreOff(FunctionOff):
    """The Image Store part is switched off on this server"""

    code = 11070


class HandlersOff(FunctionOff):
    """The Handlers part is switched off on this server"""

    code = 11071


class LambdaOff(FunctionOff):
    """The Lambda part is switched off on this server"""

    code = 11072


class MatcherOff(FunctionOff):
    """The matcher parts are switched off on this server"""

    code = 11080


class RemoteSdkOff(FunctionOff):
    """The Remote SDK part is switched off on this server"""

    code = 11081


class AccountsOff(FunctionOff):
    """The Accounts part is switched off on this server"""

    code = 11083


class UnknownLicenceTarget(InvalidInput):
    """Unknown target '{target}' for licence features, allowed are: {allowed}"""

    code = 33006
    desc = "Bad input data"
