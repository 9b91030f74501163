"""What the code of a lambda is given: requests, answers, routes, and the service that it runs beside.

Lambdas know this package as `luna_lambda`: it is copied beside their code, apart from the service. So it imports itself
relatively, knows the API alone, and imports late what not every lambda needs.
"""

from .errors import BadRequest, PlatformError, Refused
from .forms import Part
from .request import Request
from .response import Response
from .routes import Routes
from .sources import EventSources, Rect, Source, SourceData, SourceType

__all__ = [
    "BadRequest",
    "EventSources",
    "Part",
    "PlatformError",
    "Rect",
    "Refused",
    "Request",
    "Response",
    "Routes",
    "Source",
    "SourceData",
    "SourceType",
]
