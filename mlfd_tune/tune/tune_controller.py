"""What is asked of Ray Tune's controller that it does not offer: all use of its private parts.

Each function says what goes wrong without it. `tests/faults/test_trial_faults.py` and
`tests/tune/test_worker_deaths.py` break where a new Ray has other parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.tune import TuneError
from ray.tune.experiment import Trial

__all__ = ["explain_deaths", "fail_attempt", "keep_workers", "kill_worker", "move_to_new_worker"]


def keep_workers(controller: Any, trial: Trial, slots: int) -> None:
    """Keep idle workers.

    Ray keeps one and ends the others, each of which takes seconds to start again: torch is imported
    anew. It keeps as many as work is queued for; there is no other way to tell it to keep more.
    """
    controller._actor_cache.increase_max(trial.placement_group_factory, slots)


def fail_attempt(controller: Any, trial: Trial, text: str, *, again: bool) -> None:
    """Fail a trial as if its worker had raised an error, but keep the worker.

    Where a worker raises, Ray ends it. What a sound worker reports as a result goes the same way
    from here on, so that Tune, too, has the trial as failed.

    Args:
        controller: Tune's.
        trial: Whose result it was.
        text: The traceback, or one line.
        again: Whether it is to be tried again.
    """
    trial.max_failures = trial.num_failures + 1 if again else 0
    controller._maybe_cache_trial_actor(trial)
    controller._process_trial_failure(trial, TuneError(text))


def move_to_new_worker(controller: Any, trial: Trial) -> None:
    """End a trial's worker and let another begin the trial; that is no failure of it."""
    controller._try_recover(trial, TuneError("its worker was replaced"))


def kill_worker(trial: Trial) -> None:
    """Kill a trial's worker for real: one that holds the interpreter's lock, or is stopped, too."""
    actor = trial.temporary_state.ray_actor
    if actor is not None:
        ray.kill(actor)


def explain_deaths(
    controller: Any,
    explain: Callable[[Trial | None, Exception], str],
    died_idle: Callable[[Trial], None],
) -> None:
    """Let the death of a worker fail its trial alone, with a reason.

    Two things go wrong without. Tune ends the whole run when Ray's memory monitor kills a worker,
    since the error of that is none that it knows. And a worker that dies while it has nothing to
    do takes the next trial along: that is counted as failing twice, and is never scheduled again.

    Args:
        controller: Tune's.
        explain: Called with the trial and Ray's error; returns the reason.
        died_idle: Called with a trial that its worker died before, which is to start on another.
    """
    manager = controller._actor_manager
    task_failed, start_failed = manager._actor_task_failed, manager._actor_start_failed

    def explained(trial: Trial | None, exception: Exception) -> RayActorError:
        preempted = getattr(exception, "preempted", False)
        return RayActorError(error_msg=explain(trial, exception), preempted=preempted)

    def on_start_failed(tracked_actor: Any, exception: Exception) -> None:
        trial = controller._actor_to_trial.get(tracked_actor)
        start_failed(tracked_actor, explained(trial, exception))

    def on_task_failed(tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayTaskError):  # the worker lives
            task_failed(tracked_actor_task, exception)
            return
        trial = controller._actor_to_trial.get(tracked_actor_task._tracked_actor)
        told = explained(trial, exception)
        if trial is not None and trial in controller._resetting_trials:
            controller._resetting_trials.remove(trial)
            controller._unstage_trial_with_resources(trial)
            controller._set_trial_status(trial, Trial.RUNNING)
            died_idle(trial)
            trial.max_failures = trial.num_failures + 1
        task_failed(tracked_actor_task, told)

    manager._actor_task_failed = on_task_failed
    manager._actor_start_failed = on_start_failed
