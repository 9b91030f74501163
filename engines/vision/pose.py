"""Head pose from landmarks: the rotation of a rigid model whose orthographic image fits the points.

DeMenthon and Davis, Model-Based Object Pose in 25 Lines of Code, IJCV 1995 (the step without perspective: a face is
shallow against its distance). The models are in units of the distance of the pupils; x grows to the image's right,
y downwards, z towards the camera. Their depths are round values after the facial measures in Farkas, Anthropometry of
the Head and Face, 1994.

No ground truth has been measured against. What was:

- The models themselves, turned by up to 60, 40 and 40 degrees and seen in perspective: from 16 eye distances (about a
  metre) errors are 1.0 degree of yaw, .7 of pitch and .5 of roll in the mean, 2.2 at most; from half a metre 1.9, 1.5
  and 1.0 in the mean, 4.4 at most. From a metre with points off by 3 % of the eye distance and a face whose width,
  height and depth are off by 8 %: 2.4, 2.3 and .8 in the mean from 68 points, 3.5, 3.7 and 1.2 from five.
- 396 photos of Labeled Faces in the Wild and their mirror images: yaw, pitch and roll agree within .8, 1.1 and .4
  degrees in the mean and 2.1, 3.1 and 1.0 in 95 % with 68 points, within 3.0, 3.3 and 1.3 (7.9, 8.9, 4.2) with five.
- The same photos tilted by 20 degrees either way: roll follows within .6 degrees in the mean and 1.8 in 95 % with 68
  points, 1.7 and 4.8 with five; yaw and pitch stay within 1.4 (4.1) and 3.9 (10) degrees.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from server.domain.vision import HeadPose

Model = npt.NDArray[np.float64]
"""float64 [n, 3]."""

#: Left and right eye, nose tip, left and right mouth corner: x and y are MTCNN's medians over 528 photos and their
#: mirror images, so that the average face looks straight ahead.
FIVE: Model = np.array([(-0.5, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.6, 0.5), (-0.44, 1.108, 0.12), (0.44, 1.108, 0.12)])

#: Depth of those of the 68 points that no expression moves much: inner and outer brows, the nose, the corners of the
#: eyes. The corners of the mouth would make the pose a tenth of a degree steadier, and every smile a nod.
_DEPTHS = {
    17: -0.05,
    21: 0.3,
    22: 0.3,
    26: -0.05,
    27: 0.25,
    28: 0.36,
    29: 0.48,
    30: 0.6,
    31: 0.25,
    32: 0.32,
    33: 0.38,
    34: 0.32,
    35: 0.25,
    36: -0.08,
    39: 0.02,
    42: 0.02,
    45: -0.08,
}
RIGID = np.array(list(_DEPTHS))
"""Those of the 68 points, int [17]."""


def model68(mean: npt.NDArray[np.float32]) -> Model:
    """The rigid model of the 68-point landmarks, from their mean shape [68, 2], which is that of a frontal face."""
    pupils = mean[36:42].mean(axis=0), mean[42:48].mean(axis=0)
    unit = float(np.hypot(*(pupils[1] - pupils[0])))
    return np.column_stack([mean[RIGID] / unit, list(_DEPTHS.values())])


def from_five(points: npt.NDArray[np.floating]) -> HeadPose:
    """Pose from MTCNN's points [5, 2]. Coarse: yaw and pitch hang on the nose tip alone."""
    return _pose(FIVE, points)


def from_68(points: npt.NDArray[np.floating], model: Model) -> HeadPose:
    """Pose from the 68 points [68, 2] and `model68`."""
    return _pose(model, points[RIGID])


def _pose(model: Model, points: npt.NDArray[np.floating]) -> HeadPose:
    shape = model - model.mean(axis=0)
    image = np.asarray(points, np.float64) - points.mean(axis=0)
    affine = np.linalg.lstsq(shape, image, rcond=None)[0].T
    left, _, right = np.linalg.svd(affine, full_matrices=False)
    turn = left @ right
    rotation = np.vstack([turn, np.cross(turn[0], turn[1])])
    roll = math.atan2(rotation[1, 0], rotation[0, 0])
    upright = _about_z(-roll) @ rotation
    yaw = math.atan2(upright[0, 2], upright[2, 2])
    pitch = math.asin(min(1.0, max(-1.0, -upright[1, 2])))
    return HeadPose(yaw=math.degrees(yaw), pitch=math.degrees(pitch), roll=math.degrees(roll))


def _about_z(angle: float) -> npt.NDArray[np.float64]:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([(cosine, -sine, 0.0), (sine, cosine, 0.0), (0.0, 0.0, 1.0)])
