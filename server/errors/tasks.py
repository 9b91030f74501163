"""Tasks, their errors and results."""

from __future__ import annotations

from server.errors.families import InvalidInput, NotFound
from server.errors.tree import LunaError


class TaskNotFound(NotFound):
    """Task with id '{task_id}' not found"""

    code = 28001


class TasksNotFound(NotFound):
    """One or more tasks not found, including task with id '{task_id}'"""

    code = 28002


class TaskErrorNotFound(NotFound):
    """Task error with id '{error_id}' not found"""

    code = 28003


class TaskErrorsNotFound(NotFound):
    """One or more task errors not found, including task error with id '{error_id}'"""

    code = 28004


class ClusteringSelectionEmpty(InvalidInput):
    """No object with a descriptor was found for clustering"""

    code = 28010


class TaskNotReportable(InvalidInput):
    """Task with id '{task_id}' has status '{status}', and cannot be reported"""

    code = 28015


class NoClusters(InvalidInput):
    """Clustering task with id '{task_id}' has no result"""

    code = 28016


class TaskResultGone(NotFound):
    """The result of task with id '{task_id}' is gone"""

    code = 28017


class NoTaskResultYet(NotFound):
    """Task with id '{task_id}' has no result yet"""

    code = 28018


class NoTaskResult(NotFound):
    """Task with id '{task_id}' has status '{status}', which has no result"""

    code = 28020


class CrossMatchSelectionEmpty(InvalidInput):
    """No {side} with a descriptor was found for cross matching"""

    code = 28022


class CrossMatchObjectMissing(InvalidInput):
    """Object with id '{id}', named for cross matching, not found"""

    code = 28023
    desc = "Reference uuid is missing"


class TaskCancelled(InvalidInput):
    """Task with id '{task_id}' was cancelled and has no result"""

    code = 28025
    desc = "Task has been cancelled"


class SubtasksNotSent(LunaError):
    """Subtasks could not be handed to workers: {message}"""

    code = 28000
    desc = "Network error"


class TaskProgressNotSaved(LunaError):
    """Progress of task with id '{task_id}' could not be updated: {message}"""

    code = 28008


class ScheduleNotFound(NotFound):
    """Schedule with id '{schedule_id}' not found"""


class TaskResultTooLarge(InvalidInput):
    """The result has {size} bytes, more than a message's {limit}: ask for ranges"""


class TaskBegunTooOften(LunaError):
    """The work was begun {count} times and never ended"""


class TaskKindUnknown(LunaError):
    """No worker knows tasks of kind {task_type}"""
