"""Workers that are killed in the middle of tasks of every kind: each task ends as if none had died.

A life is a copy of one database and one blob store with tasks of every kind in them. A worker does all of them side by
side and is killed in the middle of a step of one of them, and so of others; another one goes on. What is there at the
end is compared with what a worker leaves that nobody kills.

Lives go on until every kind has been hit in the middle of a step so often: twice in CI, LUNA_TEST_CRASHES=20 times
where that is set, and then twice of them in each of its three steps.
`--log-cli-level=INFO` tells how often that was, and in which steps.
"""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from pydantic import SecretStr

from server.domain.tasks import TaskType
from storage.task_queue import COLLECT, PART, PLAN
from tests.robustness.crash_effects import differences
from tests.robustness.crash_lives import Life, Lives, Moment, lives_of
from tests.servers import PostgresServer, postgres, redis_url

__all__ = ["postgres", "redis_url"]

HITS = int(os.environ.get("LUNA_TEST_CRASHES", "2"))
HITS_IN_STEP = HITS // 10
MOST_LIVES = 5 * HITS
SEED = 20260301
STEPS = (PLAN, PART, COLLECT)

log = logging.getLogger(__name__)
pytestmark = pytest.mark.timeout(120 + 60 * MOST_LIVES)


@dataclass(frozen=True, slots=True)
class Crashes:
    """A life without a crash, and those with one."""

    kinds: dict[str, TaskType]
    undisturbed: Life
    disturbed: dict[Moment, Life]

    def steps(self) -> Counter[tuple[TaskType, str]]:
        """In which steps how many lives were hit, by kind: each life once for each kind and step."""
        return Counter(
            one
            for life in self.disturbed.values()
            for one in {(self.kinds[name], state.step) for name, state in life.hit.items() if state.step is not None}
        )

    def hits(self) -> Counter[TaskType]:
        """How many lives were hit in the middle of a step of a kind."""
        return Counter(
            kind
            for life in self.disturbed.values()
            for kind in {self.kinds[name] for name, state in life.hit.items() if state.step is not None}
        )


async def lived(lives: Lives) -> Crashes:
    """Live until every kind has been hit often enough, aiming at what has been hit least."""
    chance = random.Random(SEED)
    undisturbed = await lives.undisturbed()
    crashes = Crashes({case.name: case.task_type for case in lives.cases}, undisturbed, {})
    aims = [(case, step) for case in lives.cases for step in STEPS]
    while len(crashes.disturbed) < MOST_LIVES:
        hits, steps = crashes.hits(), crashes.steps()
        # tasks that are not aimed at are mostly split or worked on: short steps have to be aimed at first
        open_aims = [(case, step) for case, step in aims if steps[case.task_type, step] < HITS_IN_STEP] or [
            (case, step) for case, step in aims if hits[case.task_type] < HITS
        ]
        if not open_aims:
            break
        case, step = chance.choice(open_aims)
        moment = Moment(case.name, step, chance.random())
        life = await lives.disturbed(moment, undisturbed.took.get((moment.case, moment.step), 0))
        crashes.disturbed[moment] = life
        log.info("%s: %.1f s, %s tasks were running", moment, life.seconds, len(life.hit))
    return crashes


@pytest_asyncio.fixture(scope="module")
async def crashes(
    postgres: PostgresServer, redis_url: SecretStr, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Crashes]:
    async with lives_of(postgres, redis_url, tmp_path_factory.mktemp("lives")) as lives:
        found = await lived(lives)
    hits, steps = found.hits(), found.steps()
    for kind in TaskType:
        inside = ", ".join(f"{step} {steps[kind, step]}" for step in STEPS)
        log.info("%s was hit in a step %s times of %s: %s", kind.name, hits[kind], len(found.disturbed), inside)
    yield found


@pytest.mark.parametrize("kind", TaskType)
def test_a_task_whose_worker_is_killed_has_its_effects_once(crashes: Crashes, kind: TaskType) -> None:
    assert crashes.hits()[kind] >= HITS, "it has to be hit to prove anything"
    assert min(crashes.steps()[kind, step] for step in STEPS) >= HITS_IN_STEP
    wanted = crashes.undisturbed.remains
    found = [
        f"{moment}: {name}: {what}"
        for moment, life in crashes.disturbed.items()
        for name, what in differences(wanted, life.remains)
        if crashes.kinds.get(name) is kind
    ]
    assert found == []


def test_killed_workers_leave_no_blobs_and_no_files(crashes: Crashes) -> None:
    """Strays of the blob store are those that the sweeper finds: it has passed before anybody looks."""
    wanted = crashes.undisturbed.remains
    found = [
        f"{moment}: {what}"
        for moment, life in crashes.disturbed.items()
        for name, what in differences(wanted, life.remains)
        if not name
    ]
    assert found == []
    assert wanted.files == ()


def test_the_trail_tells_of_a_step_again_only_where_it_was_begun_again(crashes: Crashes) -> None:
    """Each commit has its entry, and so a step that is begun again after it had committed something has another one."""
    for life in crashes.disturbed.values():
        for name, one in crashes.undisturbed.remains.effects.items():
            found = life.remains.effects[name]
            assert 0 <= found.entries - one.entries <= life.taken_over.get(name, 0) + found.tries, name
