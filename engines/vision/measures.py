"""What the checks of ISO/IEC 19794-5 and of face_quality are held to, measured on one face."""

from __future__ import annotations

from engines.vision.view import FaceView
from server.domain.checks import CheckName, CheckValue, FaceQuality
from server.domain.vision import DetectedFace


def measured(view: FaceView, face: DetectedFace) -> FaceQuality:
    """The values of all checks that can be measured, and why the others cannot.

    Args:
        view: the face in its picture.
        face: what has been estimated of it; for face_quality that is everything that the installed models serve.
    """
    values: dict[CheckName, CheckValue] = {
        CheckName.FACE_WIDTH: view.rect.width,
        CheckName.FACE_HEIGHT: view.rect.height,
    }
    pose, quality = face.head_pose, face.quality
    if pose is not None:
        values |= {CheckName.HEAD_YAW: pose.yaw, CheckName.HEAD_PITCH: pose.pitch, CheckName.HEAD_ROLL: pose.roll}
    if quality is not None:
        values |= {
            CheckName.ILLUMINATION_QUALITY: quality.illumination,
            CheckName.SPECULARITY_QUALITY: quality.specularity,
            CheckName.BLURRINESS_QUALITY: quality.blurriness,
            CheckName.DARK_QUALITY: quality.dark,
            CheckName.LIGHT_QUALITY: quality.light,
        }
    return FaceQuality(values, {name: "a model for it" for name in CheckName if name not in values})
