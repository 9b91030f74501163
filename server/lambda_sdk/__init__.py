"""What the code of a lambda is given: requests, answers, routes, and the platform that it runs beside.

Lambdas know this package as `luna_lambda`: it is copied beside their code, away from the rest of this project. So it
imports itself relatively, the generated protos, gRPC, aiohttp and msgpack, and nothing of the service.
"""

from .errors import BadRequest, Refused
from .request import Request, UploadedFile
from .response import Response
from .routes import Routes

__all__ = ["BadRequest", "Refused", "Request", "Response", "Routes", "UploadedFile"]
