"""Descriptors: their versions, their byte layouts, and what a similarity means.

Luna's own versions start at 1001. Versions 46 to 60 are accepted for descriptors that a user brings: their layout is
not published, so they are kept as they came and compared as vectors of signed bytes (docs/compatibility.md).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from server.errors import BadSdkDescriptor, UnknownDescriptorVersion, WrongDescriptorLength

SIGNATURE = b"dp\x00\x00"
"""First bytes of an SDK descriptor; four bytes of little-endian version follow, then the raw descriptor."""


class Element(Enum):
    """Type of a raw descriptor's elements, little-endian. The value is numpy's name of it."""

    FLOAT16 = "<f2"
    INT8 = "<i1"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Logistic map from the distance of two unit vectors to a similarity: 1 / (1 + exp(steepness * (d - midpoint))).

    d is the L2 distance, in [0, 2]; the similarity is .5 at the midpoint.
    """

    steepness: float
    midpoint: float

    def similarity(self, cosine: float) -> float:
        """Similarity in [0, 1] of two descriptors whose cosine is in [-1, 1]."""
        distance = math.sqrt(max(0.0, 2.0 - 2.0 * cosine))
        return 1.0 / (1.0 + math.exp(self.steepness * (distance - self.midpoint)))

    def cosine(self, similarity: float) -> float:
        """Smallest cosine that reaches a similarity; -1 for 0, above 1 where nothing reaches it."""
        if similarity <= 0.0:
            return -1.0
        if similarity >= 1.0:
            return 2.0
        distance = self.midpoint + math.log(1.0 / similarity - 1.0) / self.steepness
        return 2.0 if distance < 0.0 else max(-1.0, 1.0 - distance * distance / 2.0)


@dataclass(frozen=True, slots=True)
class DescriptorSpec:
    """One version: how many elements of which type, and its calibration.

    Without a calibration the similarity is the cosine itself, cut off below 0: good for order, not for a threshold.
    """

    version: int
    dimensions: int
    element: Element
    calibration: Calibration | None = None

    @property
    def byte_length(self) -> int:
        """Length of a raw descriptor in bytes."""
        return self.dimensions * (2 if self.element is Element.FLOAT16 else 1)

    def similarity(self, cosine: float) -> float:
        """Similarity in [0, 1] for a cosine in [-1, 1]."""
        if self.calibration is None:
            return min(1.0, max(0.0, cosine))
        return self.calibration.similarity(cosine)

    def cosine(self, similarity: float) -> float:
        """Smallest cosine whose similarity reaches the given one."""
        if self.calibration is None:
            return similarity if similarity > 0.0 else -1.0
        return self.calibration.cosine(similarity)


def _brought(version: int, dimensions: int) -> DescriptorSpec:
    return DescriptorSpec(version, dimensions, Element.INT8)


def _own(version: int, dimensions: int, calibration: Calibration | None = None) -> DescriptorSpec:
    return DescriptorSpec(version, dimensions, Element.FLOAT16, calibration)


Specs = Mapping[int, DescriptorSpec]
"""Layouts by version."""

#: Face descriptors. Calibrations of dlib's: logistic fit on LFW's 6,000 pairs, without and with flip averaging. 1901 to
#: 1903 are for networks of the operator's own.
SPECS: Specs = {
    spec.version: spec
    for spec in (
        _brought(46, 256),
        *(_brought(version, 512) for version in (52, 54, 56, 57, 58, 59, 60)),
        _own(1001, 128, Calibration(20.0, 0.4356)),
        _own(1002, 128, Calibration(20.0, 0.425)),
        _own(1003, 128),
        _own(1004, 512),
        _own(1901, 128),
        _own(1902, 256),
        _own(1903, 512),
    )
}

BODY_SPECS: Specs = {spec.version: spec for spec in (_own(1101, 768), _own(1911, 512), _own(1912, 768))}
"""Body descriptors; 1911 and 1912 are for networks of the operator's own."""

LAYOUTS: Specs = {**SPECS, **BODY_SPECS}
"""Both: no version is of faces and of bodies."""


def calibrated(specs: Specs, calibrations: Mapping[int, Calibration]) -> Specs:
    """The layouts with the calibrations that were measured for an installation; others keep theirs."""
    return {
        version: replace(one, calibration=calibrations.get(version, one.calibration)) for version, one in specs.items()
    }


def spec(version: int, known: Specs = SPECS) -> DescriptorSpec:
    """The layout of a version.

    Raises:
        UnknownDescriptorVersion: it is none of those that are known.
    """
    try:
        return known[version]
    except KeyError:
        raise UnknownDescriptorVersion(version=version, known=", ".join(map(str, known))) from None


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A raw descriptor and its version; its length has been checked."""

    version: int
    data: bytes

    @classmethod
    def raw(cls, version: int, data: bytes, known: Specs = SPECS) -> Descriptor:
        """Take a raw vector of one of the versions that are known.

        Raises:
            UnknownDescriptorVersion: no such version.
            WrongDescriptorLength: the version has another length.
            BadSdkDescriptor: an element is not a finite number.
        """
        layout = spec(version, known)
        if len(data) != layout.byte_length:
            raise WrongDescriptorLength(version=version, length=len(data), needed=layout.byte_length)
        if layout.element is Element.FLOAT16 and not _finite(data):
            raise BadSdkDescriptor(message="an element is not a finite number")
        return cls(version, data)

    @classmethod
    def sdk(cls, data: bytes, known: Specs = SPECS) -> Descriptor:
        """Take a self-describing SDK descriptor.

        Raises:
            BadSdkDescriptor: the signature or the header is not there.
            UnknownDescriptorVersion, WrongDescriptorLength: as for `raw`.
        """
        if len(data) < len(SIGNATURE) + 4 or not data.startswith(SIGNATURE):
            raise BadSdkDescriptor(message="it does not begin with the signature and a version")
        (version,) = struct.unpack_from("<I", data, len(SIGNATURE))
        return cls.raw(version, data[len(SIGNATURE) + 4 :], known)

    def to_sdk(self) -> bytes:
        """The descriptor with signature and version in front."""
        return SIGNATURE + struct.pack("<I", self.version) + self.data


def _finite(data: bytes) -> bool:
    """True where no float16 of little-endian bytes is infinite or NaN: those have all exponent bits set."""
    return all(high & 0x7C != 0x7C for high in data[1::2])
