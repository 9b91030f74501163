"""Populations that are large: memory stays small, and no part is large."""

from __future__ import annotations

import tracemalloc
import zipfile

from sqlalchemy import text

from server.domain.samples import SampleType
from server.domain.task_contents import Export, FaceSelection
from server.domain.tasks import TaskType
from server.tasks.exporter import Exporter
from storage.task_files import BlobTaskFiles
from tests.integration.storage.made import OURS, number
from tests.populations import World
from tests.task_contexts import FixedForm, Run, a_task

MANY = 10_000
MOST_BYTES = 40_000_000
"""What exporting may take besides what was there before: a part of a thousand faces, and a few pictures."""


async def test_ten_thousand_faces_are_exported_with_samples_in_bounded_memory(world: World) -> None:
    sample = number(801)
    await world.sample(sample)
    async with world.database.transaction() as connection:
        values = {"account": OURS, "many": MANY, "avatar": f"/6/samples/{SampleType.FACES.value}/{sample}"}
        await connection.execute(
            text("""
                INSERT INTO faces (face_id, account_id, user_data, external_id, avatar, create_time)
                SELECT gen_random_uuid(), :account, repeat('u', 100), 'e' || n,
                    CASE n % 10 WHEN 0 THEN :avatar ELSE '' END, now()
                FROM generate_series(1, CAST(:many AS int)) AS n
            """),
            values,
        )
    form = FixedForm((TaskType.EXPORTER, Export(FaceSelection(), images=True)))
    kind = Exporter(form, world.populations, world.reader(), 1000)
    run = Run(kind, a_task(TaskType.EXPORTER), BlobTaskFiles(world.blobs, 7))
    tracemalloc.start()
    try:
        done = await run.whole()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    path = done.result.file
    assert path is not None
    assert done.result.data == b""
    with zipfile.ZipFile(path) as found:
        assert len(found.namelist()) == MANY // 10 + 1
        with found.open("report.csv") as table:
            assert sum(1 for _ in table) == MANY + 1
    path.unlink()
    assert len(run.parts) == 10
    assert peak < MOST_BYTES
