"""What can go wrong with a model pack. These are for the operator at set-up, not for clients.

PackError
├── UnknownPack         no pack of that name can be made
├── SourceMissing       a pip package or one of its files is not installed
├── SourceChanged       a source file is not the one that was reviewed
├── SourceUnreadable    a source file does not have the expected structure
├── PackMissing         the pack has not been prepared
└── PackDamaged         a prepared file is missing or differs from the manifest
"""

from __future__ import annotations


class PackError(Exception):
    """A model pack cannot be used."""


class UnknownPack(PackError):
    """No pack of that name can be made."""


class SourceMissing(PackError):
    """A pip package that the pack is made from is not installed, or lacks a file."""


class SourceChanged(PackError):
    """A source file has another checksum than the reviewed one, and was not opened."""


class SourceUnreadable(PackError):
    """A source file does not have the structure that its format promises."""


class PackMissing(PackError):
    """The pack has not been prepared."""


class PackDamaged(PackError):
    """A file of a prepared pack is missing or differs from its manifest."""
