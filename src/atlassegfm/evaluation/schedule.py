"""Tasks in processes of their own: a crash costs one pair, memory is that of one pair, several run side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing.connection import wait

from atlassegfm.evaluation.work import Task, execute, failed_record
from atlassegfm.processes import end_with_parent, exit_reason, process_context, threads_in_environment

#: What the fork server imports once, so that no process has to wait for torch.
PRELOAD = "atlassegfm.evaluation.preload"
#: Called after each finished task with the number of finished tasks, the number of all, and a short text.
Progress = Callable[[int, int, str], None]


def run_tasks(
    tasks: Sequence[Task],
    *,
    jobs: int = 1,
    isolate: bool = True,
    progress: Progress | None = None,
    start: str | None = None,
) -> None:
    """Execute tasks; every run of every task has a record afterwards.

    Parameters
    ----------
    tasks : sequence of Task
        Each is executed once.
    jobs : int
        Processes at a time.
    isolate : bool
        False executes in this process, one after the other (for tests and debuggers).
    progress : callable, optional
        See `Progress`.
    start : str, optional
        Start method of processes; by default "forkserver" where there is one, which imports the heavy packages once.
    """
    report = progress or (lambda done, total, text: None)
    report(0, len(tasks), "")
    if not isolate:
        for n, task in enumerate(tasks, 1):
            execute(task)
            report(n, len(tasks), _text(task))
        return
    context = process_context(start, PRELOAD)
    waiting, running, done = list(tasks), {}, 0
    with threads_in_environment(tasks[0].threads if tasks else None):
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    task = waiting.pop(0)
                    process = context.Process(target=_execute_watched, args=(task,), daemon=True)
                    process.start()
                    running[process.sentinel] = (process, task)
                for sentinel in wait(list(running)):
                    process, task = running.pop(sentinel)
                    process.join()
                    _fill_gaps(task, process.exitcode)
                    done += 1
                    report(done, len(tasks), _text(task))
        finally:
            # Ctrl-C and errors: leave no orphan that goes on computing.
            for process, _ in running.values():
                process.terminate()
            for process, _ in running.values():
                process.join(5)


def _execute_watched(task: Task) -> None:
    """Execute a task, and end with the process that asked for it, however that ended."""
    end_with_parent()
    execute(task)


def _fill_gaps(task: Task, exitcode: int | None) -> None:
    """Write failure records for the runs that a dead process left without one."""
    for run, key, path in task.runs:
        if path.exists():
            continue
        failed_record(task, run, key, f"the process of this pair was lost ({exit_reason(exitcode)})").write(path)


def _text(task: Task) -> str:
    return f"{task.pair.atlas} -> {task.pair.query}"
