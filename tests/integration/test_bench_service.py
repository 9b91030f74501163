"""`luna bench engine` against a running service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from server.commands import bench_engine
from server.commands.bench_engine import BOXES, SERVICE, STORING, run
from server.commands.bench_libraries import DETECT
from server.commands.client import Belongings
from server.settings import Settings
from tests.packs import models_folder
from tests.service import Account, Service


def test_a_service_is_measured_beside_the_engine_and_keeps_nothing_of_it(
    service: Service, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    class Noted(Belongings):
        def sample(self, sample_id: str) -> None:
            made.append(sample_id)
            super().sample(sample_id)

    monkeypatch.setattr(bench_engine, "Belongings", Noted)
    monkeypatch.setattr(bench_engine, "ROUNDS", 1)
    monkeypatch.setattr(bench_engine, "others", lambda: iter(()))
    out = tmp_path / "result.json"
    settings = Settings(data=tmp_path, models=models_folder())

    assert run(settings, [], 0.06, [1], (service.target, (account.login, account.password), None), out) == 0

    for way, task in ((SERVICE, BOXES), (STORING, DETECT)):
        rows = [one for one in json.loads(out.read_text())["rows"] if one["way"] == way]
        assert [one["task"] for one in rows] == [f"{task}, 1 face", f"{task}, 2 faces", f"{task}, 20 faces"]
        assert all(0 < one["of_bare"] < 2 for one in rows)
    # a round that is not counted and one that is
    assert len(made) >= 2 * (1 + 2 + 20)
    for sample_id in (made[0], made[-1]):
        address = f"{service.rest}/6/samples/faces/{sample_id}"
        assert requests.get(address, auth=account.auth, timeout=30).status_code == 404


def test_a_service_that_is_not_there_is_told_and_ends_with_status_1(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data=tmp_path, models=models_folder())

    assert run(settings, [], 0.06, [1], ("127.0.0.1:1", ("login", "password"), None), None) == 1
    assert "no service answers" in capsys.readouterr().err
