"""The recognition engine: codes of LUNA's SDK.

Mostly errors of one image in an answer for several.
"""

from __future__ import annotations

from server.errors.families import InvalidInput
from server.errors.tree import LunaError


class EngineFailure(LunaError):
    """The recognition engine failed: {message}"""

    code = 99999
    desc = "Unknown fsdk core error"


class BufferEmpty(InvalidInput):
    """A buffer for the recognition engine is empty: {message}"""

    code = 100001
    desc = "Buffer is empty"


class BufferNull(InvalidInput):
    """A buffer for the recognition engine is absent: {message}"""

    code = 100002
    desc = "Buffer is null"


class BufferFull(InvalidInput):
    """A buffer of the recognition engine is full: {message}"""

    code = 100003
    desc = "Buffer is full"


class IncompatibleDescriptors(InvalidInput):
    """Descriptors cannot be compared with each other: {message}"""

    code = 100004
    desc = "Descriptors are incompatible"


class BadBufferSize(InvalidInput):
    """A buffer for the recognition engine has a wrong size: {message}"""

    code = 100006
    desc = "Invalid buffer size"


class BrokenDescriptor(InvalidInput):
    """The recognition engine cannot read the descriptor: {message}"""

    code = 100007
    desc = "Invalid descriptor"


class BrokenDescriptorBatch(InvalidInput):
    """The recognition engine cannot read the batch of descriptors: {message}"""

    code = 100008
    desc = "Invalid descriptor batch"


class BadDetection(InvalidInput):
    """The detection cannot be used: {message}"""

    code = 100009
    desc = "Invalid detection"


class BrokenImage(InvalidInput):
    """The recognition engine cannot use the image: {message}"""

    code = 100010
    desc = "Invalid image"


class BadImageFormat(InvalidInput):
    """The format of the image is wrong: {message}"""

    code = 100011
    desc = "Invalid image format"


class BadEngineInput(InvalidInput):
    """The recognition engine cannot use its input: {message}"""

    code = 100013
    desc = "Invalid input"


class BadLandmarks5(InvalidInput):
    """The 5 landmarks cannot be used: {message}"""

    code = 100014
    desc = "Invalid landmarks 5"


class BadLandmarks68(InvalidInput):
    """The 68 landmarks cannot be used: {message}"""

    code = 100015
    desc = "Invalid landmarks 68"


class BadRectangle(InvalidInput):
    """The rectangle cannot be used: {message}"""

    code = 100016
    desc = "Invalid rectangle"


class ImageNotInitialized(InvalidInput):
    """The image could not be handed to the recognition engine: {message}"""

    code = 100021
    desc = "Error during initialization fdsk image"


class ImageNotLoaded(InvalidInput):
    """The image could not be loaded: {message}"""

    code = 100022
    desc = "Error during image loadin"


class ImageNotSaved(InvalidInput):
    """The image could not be saved: {message}"""

    code = 100023
    desc = "Error during image saving"


class ImageNotArchived(InvalidInput):
    """The image could not be archived: {message}"""

    code = 100024
    desc = "Archive image error"


class NoImageConversion(InvalidInput):
    """The image cannot be converted: {message}"""

    code = 100026
    desc = "Image conversion not implemented"


class NoImageData(InvalidInput):
    """The image has no data: {message}"""

    code = 100027
    desc = "Bad input image data pointer"


class BadImageDataSize(InvalidInput):
    """The data of the image has a wrong size: {message}"""

    code = 100028
    desc = "Bad input image data size"


class UnsupportedImageFormat(InvalidInput):
    """The format of the image is not supported: {message}"""

    code = 100029
    desc = "Unsupported image format"


class BadImageHeight(InvalidInput):
    """The height of the image cannot be used: {message}"""

    code = 100030
    desc = "Invalid image height"


class BadImagePath(InvalidInput):
    """No image can be loaded from or saved to this path: {message}"""

    code = 100031
    desc = "Bad path for image saving / loading"


class ImageNotOpened(InvalidInput):
    """The image could not be opened in memory: {message}"""

    code = 100032
    desc = "Error at image memory opening"


class UnsupportedImageType(InvalidInput):
    """The type of the image is not supported: {message}"""

    code = 100033
    desc = "Unsupported image type"


class BadImageWidth(InvalidInput):
    """The width of the image cannot be used: {message}"""

    code = 100034
    desc = "Invalid image width"


class BatchFailed(InvalidInput):
    """The images could not be worked on together: {message}"""

    code = 100035
    desc = "Batching error"


class VersionNotEstimated(InvalidInput):
    """Descriptor version {version} is not supported by the recognition engine"""

    code = 200003


class EngineBroken(EngineFailure):
    """The recognition engine failed inside: {message}"""

    code = 100005
    desc = "Internal error"


class BadEngineSettings(EngineFailure):
    """The settings of the recognition engine cannot be used: {message}"""

    code = 100017
    desc = "Invalid settings provider"


class EngineNotLicensed(EngineFailure):
    """The recognition engine has no licence: {message}"""

    code = 100018
    desc = "Licensing issue"


class EngineNotInitialized(EngineFailure):
    """A part of the recognition engine is not initialized: {message}"""

    code = 100019
    desc = "Module is not initialized"


class EngineNotReady(EngineFailure):
    """A part of the recognition engine is not ready: {message}"""

    code = 100020
    desc = "Module is not ready"


class DescriptorNotCreated(EngineFailure):
    """The descriptor could not be created: {message}"""

    code = 110001
    desc = "Creation descriptor error"


class DescriptorsNotCreated(EngineFailure):
    """The batch of descriptors could not be created: {message}"""

    code = 110002
    desc = "Creation descriptor error"


class EyesNotEstimated(EngineFailure):
    """The eyes could not be estimated: {message}"""

    code = 110015
    desc = "Estimation eyes error"


class FaceNotDetected(EngineFailure):
    """Detection of one face failed: {message}"""

    code = 110018
    desc = "Detect one face error"


class FacesNotDetected(EngineFailure):
    """Detection of faces failed: {message}"""

    code = 110019
    desc = "Detect faces error"


class EngineMemoryFull(EngineFailure):
    """The recognition engine reached its limit of memory: {message}"""

    code = 110020
    desc = "High memory usage"


class MaskNotEstimated(EngineFailure):
    """The mask could not be estimated: {message}"""

    code = 110023
    desc = "Estimation mask error"
