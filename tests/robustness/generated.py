"""What schemathesis is told of this service: its accounts, its media types, and pictures that are pictures.

It is loaded by schemathesis itself, which is given its environment by `tests.robustness.test_schemathesis`.
"""

from __future__ import annotations

import base64
import os
from typing import Any

import cv2
import msgpack
import numpy as np
import schemathesis
from hypothesis import strategies as st
from schemathesis import AuthContext, Case, SerializationContext

from gateway.media import BASE64_IMAGES, IMAGES, MSGPACK

ENDINGS = {"image/jpeg": ".jpg", "image/png": ".png", "image/bmp": ".bmp", "image/tiff": ".tiff"}
"""What each type of image is called by OpenCV; the others are PPM."""


class Basic:
    """Basic authorization from a variable of the environment."""

    variable = ""

    def get(self, case: Case[Any], context: AuthContext) -> str:
        return f"Basic {os.environ[self.variable]}"

    def set(self, case: Case[Any], data: str, context: AuthContext) -> None:
        case.headers["Authorization"] = data


@schemathesis.auth().skip_for(path="/6/account", method="PATCH")
class Caller(Basic):
    """The account that calls."""

    variable = "LUNA_TEST_CALLER"


@schemathesis.auth().apply_to(path="/6/account", method="PATCH")
class Changed(Basic):
    """The account that is changed: its login and its password soon are other ones."""

    variable = "LUNA_TEST_CHANGED"


@schemathesis.serializer(MSGPACK)
def packed(_context: SerializationContext, value: object) -> bytes:
    """A body of msgpack; what msgpack cannot hold is JSON's null."""
    return bytes(msgpack.packb(value, default=lambda _other: None))


def pictures(media: str) -> st.SearchStrategy[bytes]:
    """Bytes of a type of image, some of which are one: noise, and a picture of one colour."""
    noise = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    plain = np.full((250, 250, 3), 128, dtype=np.uint8)
    ending = ENDINGS.get(media.replace("x-", "").replace("-base64", ""), ".ppm")
    images = [bytes(cv2.imencode(ending, one)[1]) for one in (noise, plain)]
    found = st.one_of(st.sampled_from(images), st.binary(max_size=200))
    return found.map(base64.b64encode) if media in BASE64_IMAGES else found


for _media in (*IMAGES, *BASE64_IMAGES):
    schemathesis.openapi.media_type(_media, pictures(_media))
