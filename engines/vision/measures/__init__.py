"""What the checks of ISO/IEC 19794-5 and of face_quality are held to, measured by classical image processing.

Values only: thresholds and verdicts are `server.domain.checks`'. Knows no requests and no packs.
"""
