"""People who do not exist, drawn: pictures with faces that detectors find, and that anybody may have.

A head is a relief that is lit from the upper left, with painted features. Coordinates of a head are -1 to 1 in both
directions, with the tip of the nose near (0, 0.2). Pictures are uint8 [height, width, 3], BGR, as OpenCV has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Layer = npt.NDArray[np.float32]
Colour = tuple[int, int, int]

SIDE = 512
LIGHT = np.array((-0.4, -0.5, 0.77), np.float32)
DARK = (25, 25, 30)


@dataclass(frozen=True, slots=True)
class Person:
    """What somebody looks like; colours are BGR. `turn` is in [-1, 1], to the image's right above 0."""

    skin: Colour
    hair: Colour
    eyes: Colour
    clothes: Colour
    smile: float
    turn: float = 0.0
    long_hair: bool = False


PEOPLE = (
    Person((150, 178, 226), (38, 52, 80), (96, 110, 70), (120, 70, 40), smile=0.6),
    Person((92, 124, 176), (18, 20, 26), (30, 44, 70), (60, 60, 150), smile=0.9, long_hair=True),
    Person((170, 196, 236), (90, 140, 190), (150, 120, 70), (70, 120, 70), smile=0.2, turn=0.25),
)


def group(people: tuple[Person, ...] = PEOPLE, height: int = 540, seed: int = 5) -> Picture:
    """People side by side before a blurred wall."""
    draw = np.random.default_rng(seed)
    step, size = height // 2, int(height * 0.65)
    width = step * len(people) + height // 4
    picture = _wall(width, height, draw)
    for number, person in enumerate(people):
        _place(
            picture, person, step * number + step // 2 + height // 8, int(height * draw.uniform(0.46, 0.52)), size, draw
        )
    noisy = cv2.GaussianBlur(picture, (0, 0), 0.7) + draw.normal(0, 2.2, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _wall(width: int, height: int, draw: np.random.Generator) -> Layer:
    picture = np.full((height, width, 3), (140, 130, 120), np.float32)
    for _ in range(16):
        layer = picture.copy()
        left, top = int(draw.uniform(0, width)), int(draw.uniform(0, height * 0.7))
        right, bottom = left + int(draw.uniform(40, 160)), top + int(draw.uniform(60, 220))
        cv2.rectangle(layer, (left, top), (right, bottom), draw.uniform(60, 210, 3).tolist(), -1)
        picture = (0.6 * picture + 0.4 * layer).astype(np.float32)
    return cv2.GaussianBlur(picture, (0, 0), 14).astype(np.float32)


def _place(picture: Layer, person: Person, x: int, y: int, size: int, draw: np.random.Generator) -> None:
    """Draw shoulders and head of a person, the head's middle at a point; what is outside of the picture is cut off."""
    height, width = picture.shape[:2]
    body = np.zeros((height, width), np.float32)
    cv2.ellipse(body, (x, y + int(size * 0.98)), (int(size * 0.62), int(size * 0.55)), 0, 0, 360, 1, -1)
    across = (x - np.arange(width, dtype=np.float32)) / size
    cloth = np.array(person.clothes, np.float32) * (0.9 + 0.42 * np.clip(across, -0.6, 0.6))[None, :, None]
    _over(picture, cloth, body)
    colours, alpha = _head(person, draw)
    colours, alpha = (cv2.resize(one, (size, size), interpolation=cv2.INTER_AREA) for one in (colours, alpha))
    left, top = x - size // 2, y - size // 2
    columns = slice(max(left, 0), min(left + size, width))
    rows = slice(max(top, 0), min(top + size, height))
    inside = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    mixed = alpha[inside][..., None]
    picture[rows, columns] = picture[rows, columns] * (1 - mixed) + colours[inside] * mixed


def _over(
    below: Layer, colours: Layer, mask: npt.NDArray[np.float32] | npt.NDArray[np.bool_], soft: float = 2.0
) -> None:
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), soft)[..., None]
    below[:] = below * (1 - alpha) + colours * alpha


def _head(person: Person, draw: np.random.Generator) -> tuple[Layer, Layer]:
    """Colours and opacity of a head with neck and hair."""
    v, u = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / (SIDE / 2) - 1
    skin = np.array(person.skin, np.float32)
    strands = cv2.GaussianBlur(draw.normal(0, 1, (SIDE, SIDE)).astype(np.float32), (0, 0), sigmaX=1, sigmaY=14) * 0.8
    shine = (1 + strands) * (0.75 + 0.5 * np.clip(0.3 - 0.6 * u - 0.7 * v, 0, 1))
    hair = np.array(person.hair, np.float32) * shine[..., None]
    back = (u / 0.60) ** 2 + ((v + 0.14) / 0.66) ** 2 < 1
    if person.long_hair:
        back |= (np.abs(u) < 0.56 + 0.06 * v) & (v > -0.15) & (v < 0.85)
    neck = (np.abs(u) < 0.25) & (v > 0.35) & (v < 0.85 + 0.08 * np.cos(u * 6))
    ears = ((np.abs(u) - 0.505) / 0.055) ** 2 + ((v - 0.06) / 0.13) ** 2 < 1
    outline = _outline(u, v)
    hairline = -0.40 + 0.05 * np.cos(3.1 * u + 0.6) + 0.275 * (np.abs(u) / 0.55) ** 4
    front = (v < hairline) & ((u / 0.575) ** 2 + ((v + 0.12) / 0.62) ** 2 < 1)
    colours, alpha = np.zeros((SIDE, SIDE, 3), np.float32), np.zeros((SIDE, SIDE, 1), np.float32)
    for layer, mask, soft in (
        (hair, back, 2.0),
        (skin * (0.62 + 0.16 * np.cos(u * 5) - 0.12 * u)[..., None], neck, 2.0),
        (skin * (0.84 - 0.2 * u)[..., None], ears & (not person.long_hair), 2.0),
        (_face(person, u, v, draw), outline < 1, 1.5),
        (hair, front, 3.0),
    ):
        _over(colours, layer, mask, soft)
        _over(alpha, np.ones_like(alpha), mask, soft)
    return np.clip(colours / np.maximum(alpha, 1e-3), 0, 255).astype(np.float32), alpha[..., 0]


def _outline(u: Layer, v: Layer) -> Layer:
    """Below 1 inside of a face: an ellipse that narrows to the chin."""
    narrow = np.clip((v - 0.05) / 0.75, 0, 1) ** 1.8
    return (u / (0.50 * (1 - 0.34 * narrow))) ** 2 + ((v - 0.06) / 0.68) ** 2


RELIEF = (
    (0.00, 0.100, 0.055, 0.200, 0.130),  # bridge of the nose
    (0.00, 0.215, 0.085, 0.060, 0.130),  # its tip
    (0.07, 0.235, 0.040, 0.035, 0.040),  # its wings
    (0.19, -0.030, 0.120, 0.075, -0.085),  # sockets of the eyes
    (0.19, -0.030, 0.085, 0.050, 0.045),  # eyeballs
    (0.19, -0.145, 0.150, 0.035, 0.030),  # brows
    (0.26, 0.190, 0.130, 0.110, 0.050),  # cheeks
    (0.00, 0.400, 0.150, 0.035, 0.035),  # upper lip
    (0.00, 0.465, 0.130, 0.035, 0.045),  # lower lip
    (0.00, 0.430, 0.150, 0.012, -0.030),  # between them
    (0.00, 0.620, 0.130, 0.080, 0.060),  # chin
    (0.00, 0.530, 0.120, 0.030, -0.020),  # above it
)
"""Bumps of a face: where, how wide, how high. Those beside the middle are on both sides."""


def _face(person: Person, u: Layer, v: Layer, draw: np.random.Generator) -> Layer:
    """The skin with its features, lit."""
    shift = 0.12 * person.turn
    height = 0.55 * np.sqrt(np.clip(1 - _outline(u, v), 0, 1))
    for x, y, wide, tall, high in RELIEF:
        for side in {-x, x}:
            height = height + high * np.exp(-(((u - side - shift) / wide) ** 2) - ((v - y) / tall) ** 2)
    height = cv2.GaussianBlur(height, (0, 0), 3)
    down, right = np.gradient(height * SIDE / 2)
    normals = np.dstack([-right, -down, np.ones_like(right)])
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    light = LIGHT / np.linalg.norm(LIGHT)
    half = np.add(light, (0, 0, 1))
    half /= np.linalg.norm(half)
    hollow = np.clip(3.2 * (cv2.GaussianBlur(height, (0, 0), 14) - height), 0, 0.25)
    shade = 0.42 + 0.70 * np.clip((normals * light).sum(2), 0, 1) - hollow
    glow = 38 * np.clip((normals * half).sum(2), 0, 1) ** 28
    grain = [cv2.GaussianBlur(draw.normal(0, 1, u.shape).astype(np.float32), (0, 0), s) * s for s in (1.2, 9)]
    colours = np.array(person.skin, np.float32) + (1.8 * grain[0] + 1.1 * grain[1])[..., None]
    painted = _paint_features(colours.astype(np.float32), person, shift)
    return (painted * shade[..., None] + glow[..., None]).astype(np.float32)


def _paint_features(colours: Layer, person: Person, shift: float) -> Layer:
    skin, lips = np.array(person.skin, np.float32), np.array((95, 85, 170), np.float32)
    lips = 0.6 * lips + 0.4 * skin * (0.7, 0.6, 0.85)

    def points(*pairs: tuple[float, float]) -> npt.NDArray[np.int32]:
        return np.array([[(x + shift + 1) * SIDE / 2, (y + 1) * SIDE / 2] for x, y in pairs], np.int32)

    def paint(mask: Layer, colour: npt.ArrayLike, strength: float) -> None:
        _over(colours, np.broadcast_to(np.asarray(colour, np.float32), colours.shape), mask * np.float32(strength))

    def filled(*pairs: tuple[float, float]) -> Layer:
        return cv2.fillPoly(np.zeros((SIDE, SIDE), np.float32), [points(*pairs)], 1)  # type: ignore[return-value]

    def line(width: int, *pairs: tuple[float, float]) -> Layer:
        return cv2.polylines(np.zeros((SIDE, SIDE), np.float32), [points(*pairs)], False, 1, width)  # type: ignore[return-value]

    def disc(x: float, y: float, radius: int) -> Layer:
        return cv2.circle(np.zeros((SIDE, SIDE), np.float32), points((x, y))[0].tolist(), radius, 1, -1)  # type: ignore[return-value]

    corner = 0.425 - 0.035 * person.smile
    middle = [(-0.08, 0.435), (0.0, 0.44), (0.08, 0.435)]
    bow = [(-0.08, 0.395), (-0.03, 0.38), (0.0, 0.39), (0.03, 0.38), (0.08, 0.395)]
    below = [(0.09, 0.49), (0.03, 0.51), (-0.03, 0.51), (-0.09, 0.49)]
    paint(filled((-0.165, corner), *bow, (0.165, corner), *reversed(middle)), lips * 0.82, 0.75)
    paint(filled((-0.165, corner), *middle, (0.165, corner), *below), lips, 0.75)
    paint(line(4, (-0.17, corner), *middle, (0.17, corner)), lips * 0.35, 0.9)
    for side in (-1, 1):
        paint(disc(side * 0.045, 0.262, 6), skin * 0.3, 0.8)
        x, y = side * 0.19, -0.03
        along = np.linspace(0, np.pi, 25)
        across = x - 0.088 * np.cos(along)
        upper = list(zip(across, y - 0.052 * np.sin(along) ** 0.8, strict=True))
        lower = list(zip(across[::-1], y + 0.030 * np.sin(along), strict=True))
        eye = filled(*upper, *lower)
        paint(eye, (222, 226, 230), 0.95)
        paint(eye * disc(x, y - 0.012, 12), person.eyes, 0.95)
        paint(eye * disc(x, y - 0.012, 6), DARK, 1.0)
        paint(line(5, *upper), DARK, 0.9)
        paint(line(2, *lower), skin * 0.45, 0.6)
        paint(line(3, *[(a, b - 0.035) for a, b in upper[2:-2]]), skin * 0.55, 0.55)
        brow = [(0.08, -0.14), (0.15, -0.163), (0.23, -0.163), (0.30, -0.125)]
        paint(line(11, *[(side * a, b) for a, b in brow]), np.array(person.hair) * 0.9, 0.75)
        paint(disc(x - 0.014, y - 0.026, 2), (255, 255, 255), 1.0)
    return colours
