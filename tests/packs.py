"""The default model pack for tests: prepared once per machine and user, then reused."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path

from engines.packs.pack import DEFAULT, Pack
from engines.packs.prepare import CONVERTER, prepare


def models_folder() -> Path:
    """LUNA_TEST_MODELS, or a folder of this user in the system's temporary folder.

    Checkouts that make packs in other ways have other folders: they would make them anew for each other.
    """
    named = os.environ.get("LUNA_TEST_MODELS")
    return Path(named) if named else Path(tempfile.gettempdir()) / f"luna-test-models-{getpass.getuser()}-{CONVERTER}"


def default_pack() -> Pack:
    """The default pack with the 68-point model, so that every estimation can be tested."""
    return prepare(models_folder(), DEFAULT, landmarks68=True, progress=lambda _name, _done, _total: None)
