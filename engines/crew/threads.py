"""The work of an engine, done in the threads that ask for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Concatenate

import cv2

from engines.crew.crew import SUBJECTS, P, Served, T, Work
from engines.packs.pack import Pack
from engines.runtime.batching import BatchingRuntime, Policy
from engines.runtime.choose import choose
from engines.runtime.observer import Observer
from engines.runtime.runtime import Runtime
from engines.vision.models import assemble
from engines.vision.pipeline import Pipeline
from server.errors import Unavailable
from server.settings import Engine


class ThreadCrew:
    """Has the models in this process (protocol: `engines.crew.crew.Crew`).

    Args:
        installed: prepared packs; where several serve a task, the first does.
        settings: device, limits and switches.
        runtime: what executes the networks; the one that the settings name where none is given.
        observer: is told of every run of a network.
    """

    def __init__(
        self,
        installed: Sequence[Pack],
        settings: Engine,
        runtime: Runtime | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._installed = installed
        self._settings = settings
        self._given = runtime
        self._observer = observer
        self._runtime: Runtime | None = None
        self._pipeline: Pipeline | None = None

    def start(self, workers: int) -> Served:  # noqa: ARG002 - threads of the caller need no places
        """See `Crew.start`."""
        # Images are worked on side by side already; threads of OpenCV's own would only fight over the cores.
        cv2.setNumThreads(1)
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._runtime = self._chosen()
        models = assemble(self._installed, self._runtime, self._settings)
        models.warm_up(self._settings.min_face)
        self._pipeline = Pipeline(models, self._settings)
        needs = {subject: self._pipeline.estimates.needs(subject) for subject in SUBJECTS}
        return Served(self._runtime.name, models.descriptor_version, needs)

    def work(self, method: Callable[Concatenate[Work, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Crew.work`."""
        return self.do(method.__name__, *args, **kwargs)  # type: ignore[return-value]

    def do(self, method: str, *args: object, **kwargs: object) -> object:
        """Do one piece of work that is told by a method's name, as it comes from another process."""
        if self._pipeline is None:
            raise Unavailable(component="The inference engine")
        return getattr(self._pipeline, method)(*args, **kwargs)

    def close(self) -> None:
        """See `Crew.close`."""
        self._pipeline = None
        if self._runtime is not None:
            self._runtime.close()

    def _chosen(self) -> Runtime:
        if self._given is not None:
            return BatchingRuntime(self._given, Policy(max_batch=self._settings.max_batch), self._observer)
        return choose(self._settings, self._installed[0].folder.parent, self._observer)
