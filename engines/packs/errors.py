"""What can go wrong with a model pack. These are for the operator at set-up, not for clients.

PackError
├── UnknownPack         no pack of that name can be installed
├── SourceMissing       a pip package or one of its files is not installed
├── SourceChanged       a source file is not the one that was reviewed
├── SourceUnreadable    a source file does not have the expected structure
├── PackMissing         the pack is not there
├── PackDamaged         a file of a pack is missing or differs from the manifest, or the manifest cannot be used
├── LicenceNotAccepted  a licence has to be accepted first
├── FileUnknown         a file of a pack has no address, and is not given
├── FileRefused         a file is not the one that the manifest means
├── DownloadFailed      an address cannot be fetched
└── InstallFailed       a pack cannot be written
"""

from __future__ import annotations


class PackError(Exception):
    """A model pack cannot be used."""


class UnknownPack(PackError):
    """No pack of that name can be installed."""


class SourceMissing(PackError):
    """A pip package that the pack is made from is not installed, or lacks a file."""


class SourceChanged(PackError):
    """A source file has another checksum than the reviewed one, and was not opened."""


class SourceUnreadable(PackError):
    """A source file does not have the structure that its format promises."""


class PackMissing(PackError):
    """The pack is not there."""


class PackDamaged(PackError):
    """A file of a pack is missing or differs from its manifest, or the manifest cannot be used."""


class LicenceNotAccepted(PackError):
    """A licence has to be accepted first."""


class FileUnknown(PackError):
    """A file of a pack has no address, and is not given."""


class FileRefused(PackError):
    """A file is not the one that the manifest means: its length or its checksum differs."""


class DownloadFailed(PackError):
    """An address cannot be fetched."""


class InstallFailed(PackError):
    """A pack cannot be written."""
