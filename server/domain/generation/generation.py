"""The way from sources to events: look -> filter -> compare -> tag -> store."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from server.domain.access import Principal
from server.domain.events import Batch
from server.domain.generation.assembly import Assembly, Notice
from server.domain.generation.comparing import Comparing
from server.domain.generation.keeping import Keeping
from server.domain.generation.made import Generated
from server.domain.generation.plan import Plan
from server.domain.generation.request import GenerationWish
from server.domain.generation.sources import Looking
from server.domain.generation.subjects import each, together
from server.domain.images import Images
from server.domain.matching import Matching
from server.domain.policies import EventPolicy, Policies


class Generation:
    """Makes events of images, samples and descriptors.

    Args:
        images: looks at pictures.
        matching: finds who is known.
        keeping: keeps what is made.
        stores_events: events are kept; otherwise they are answered and told alone (reference document: events off).
    """

    def __init__(self, images: Images, matching: Matching, keeping: Keeping, *, stores_events: bool = True) -> None:
        self._images = images
        self._stores_events = stores_events
        self._comparing = Comparing(matching)
        self._keeping = keeping

    async def generate(
        self, principal: Principal, handler_id: UUID, policies: Policies, wish: GenerationWish, notice: Notice
    ) -> Generated:
        """Make the events of one request. When this returns, all that they name is kept, unless policies do not wait.

        Everything is kept in one step: a failure leaves nothing.

        Args:
            principal: the account of the handler; samples that are given must be its own.
            handler_id: the handler that the events will name.
            policies: what is done.
            wish: the sources, and what the events are about.
            notice: writes what subscribers are told of an event.

        Raises:
            FeatureOff: the policies need what no installed model serves.
            BadBody: liveness is asked for of samples.
            MultipleFaces: a source of an aggregate shows several persons.
            LunaError: the only source cannot be used, or a comparison cannot be made.
            ListsNotFound: a list of the policies is not there.
        """
        generated, batch = await self.make(principal, handler_id, policies, wish, notice)
        await self._keeping.keep(batch, wait=policies.storage.event.wait)
        return generated

    async def make(
        self, principal: Principal, handler_id: UUID, policies: Policies, wish: GenerationWish, notice: Notice
    ) -> tuple[Generated, Batch]:
        """Make the events of one request, and what is to be kept of them, which the caller keeps.

        Arguments and errors are those of `generate`, but for what only keeping finds.
        """
        now = datetime.now(UTC)
        if not self._stores_events:
            policies = replace(policies, storage=replace(policies.storage, event=EventPolicy(store=False)))
        plan = Plan.of(policies)
        engine = self._images.engine
        plan.require(engine, wish.sources)
        outcomes = await Looking(self._images, principal.writes, policies, plan, wish).all()
        if wish.aggregate:
            subjects = together(outcomes, wish.data, plan.thresholds, engine)
        else:
            subjects = each(outcomes, wish.data, plan.thresholds)
        matches = await self._comparing.compare(principal, policies, subjects, now)
        assembly = Assembly(principal.account_id, handler_id, policies, now, notice)
        events = tuple(assembly.add(subject, found) for subject, found in zip(subjects, matches, strict=True))
        return Generated(tuple(outcomes), events), assembly.batch
