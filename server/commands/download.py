"""Fetching a file of known length by HTTP, for `luna models install`. Nothing else in Luna downloads models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from engines.packs.errors import DownloadFailed

_SECONDS = 30.0
"""Longest wait for a connection, and for the next bytes."""

_REDIRECTS = 5


def download(url: str, size: int, target: Path, progress: Callable[[int], None]) -> None:
    """Fetch an address into a file. Proxies are those of the environment.

    Args:
        url: http or https.
        size: bytes that the file has; not one more is written.
        target: the file.
        progress: is told how many bytes there are.

    Raises:
        DownloadFailed: it cannot be fetched, or has another length.
        OSError: the file cannot be written.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        raise DownloadFailed(f"{url} is no http or https address")
    count = 0
    try:
        client = httpx.Client(follow_redirects=True, max_redirects=_REDIRECTS, timeout=_SECONDS)
        with client, client.stream("GET", url) as answer, target.open("wb") as sink:
            if answer.status_code != httpx.codes.OK:
                raise DownloadFailed(f"{url} answers {answer.status_code} {answer.reason_phrase}")
            for block in answer.iter_bytes():
                count += len(block)
                if count > size:
                    raise DownloadFailed(f"{url} has more than the {size} bytes that it should have")
                sink.write(block)
                progress(count)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        message = f"{url} cannot be fetched: {str(error) or type(error).__name__}"
        raise DownloadFailed(message) from error
    if count != size:
        raise DownloadFailed(f"{url} ends after {count} of {size} bytes")
