"""A pool of worker processes that stops when it is told to, dies with its parent and outlives its dead; or a cluster.

``concurrent.futures`` gives up all jobs when one worker is killed, and its workers train on when their parent is.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from multiprocessing import connection, resource_tracker
from typing import Any, NamedTuple

CONTEXT = multiprocessing.get_context("spawn")
TRIES = 2
QUEUED = 256  # on a cluster, so that one that grows with its work sees some
HELD = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class Job(NamedTuple):
    """What a worker does: ``function(*arguments)``; ``name`` says which if it fails."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class WorkerKilledError(RuntimeError):
    """A job was tried twice, and its worker was killed each time."""


class _Worker:
    """A process that does one job after the other, and the pipe to it, which ends when the process does."""

    def __init__(self) -> None:
        self.connection, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_work, args=(theirs,), daemon=True)
        try:
            with _no_interrupt():
                self.process.start()
            theirs.close()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> int:
        """End it, whatever it does, and return its exit code; what it was writing is whole or not there."""
        self.connection.close()
        if self.process.pid is None:
            return 0
        self.process.kill()
        self.process.join()
        return self.process.exitcode


def on_dask(jobs: Iterable[Job], scheduler: str) -> Iterator[tuple[Job, Any]]:
    """Every job with what it returned or raised, as they are done, by the workers of a running dask cluster.

    ``scheduler``: its address. Jobs are told apart by their names; QUEUED of them, or two for each thread of the
    cluster, are taken ahead. Raises OSError where no scheduler answers.
    """
    from dask.distributed import Client, as_completed

    coming = enumerate(jobs)
    with Client(scheduler) as client:
        running: dict[Any, Job] = {}
        done = as_completed()

        def submit() -> None:
            wanted = max(QUEUED, 2 * sum(client.nthreads().values()))
            for place, job in islice(coming, wanted - len(running)):
                future = client.submit(job.function, *job.arguments, key=job.name, priority=-place)
                running[future] = job
                done.add(future)

        submit()
        for future in done:
            job = running.pop(future)
            submit()
            error = future.exception()
            yield job, error if error is not None else future.result()


class _Task(NamedTuple):
    """A job, its place among all, and which try of it this is."""

    place: int
    job: Job
    tries: int = 1


def results(jobs: Iterable[Job], workers: int) -> Iterator[tuple[Job, Any]]:
    """Every job with what it returned or raised, as they are done, by ``workers`` processes.

    Jobs are taken when a worker is free. One whose worker is killed is tried once more, in a new one, and then given up
    as WorkerKilledError; no other is touched. When the iteration ends, also by an error or an interrupt, no worker is
    left.
    """
    with closing(_done(jobs, workers, math.inf)) as done:
        for task, outcome in done:
            yield task.job, outcome


def in_order(jobs: Iterable[Job], workers: int, *, ahead: float = math.inf) -> Iterator[Any]:
    """What each job returned, in the order of the jobs; raises what a job raised, when it is its turn.

    At most ``ahead`` jobs from the first unfinished one on are begun, which bounds what waits for its turn.
    Processes, dead ones and the end are those of ``results``.
    """
    waiting: dict[int, Any] = {}
    turn = 0
    with closing(_done(jobs, workers, ahead)) as done:
        for task, outcome in done:
            waiting[task.place] = outcome
            while turn in waiting:
                found, turn = waiting.pop(turn), turn + 1
                if isinstance(found, Exception):
                    raise found
                yield found


def _done(jobs: Iterable[Job], workers: int, ahead: float) -> Iterator[tuple[_Task, Any]]:
    """Each job with its outcome; whoever waits for one is given work before it is handed out."""
    coming, begun = enumerate(jobs), 0
    again: deque[_Task] = deque()
    busy: dict[connection.Connection, tuple[_Worker, _Task]] = {}
    idle: list[_Worker] = []
    done: list[tuple[_Task, Any]] = []
    try:
        while True:
            while len(busy) < workers:
                oldest = min((task.place for _, task in busy.values()), default=begun)
                if again:
                    task = again.popleft()
                elif begun - oldest < ahead and (new := next(coming, None)):
                    task, begun = _Task(*new), begun + 1
                else:
                    break
                worker = _free(idle, task)
                busy[worker.connection] = worker, task
                _send(worker, task.job)
            yield from done
            if not busy:
                return
            done = list(_answers(busy, again, idle))
    finally:
        for worker in [*idle, *(worker for worker, _ in busy.values())]:
            worker.kill()


def _free(idle: list[_Worker], task: _Task) -> _Worker:
    """An idle worker or a new one; for a second try a new one, since who is idle may be dead as well."""
    if idle and task.tries > 1:
        idle.pop().kill()
        return _Worker()
    return idle.pop() if idle else _Worker()


def _answers(
    busy: dict[connection.Connection, tuple[_Worker, _Task]], again: deque[_Task], idle: list[_Worker]
) -> Iterator[tuple[_Task, Any]]:
    """Wait until some of the busy are done or dead; what is done with its outcome, and who did it idle again."""
    for end in connection.wait(list(busy)):
        worker, task = busy.pop(end)
        try:
            outcome = pickle.loads(end.recv_bytes())
        except (EOFError, OSError):
            code = worker.kill()
            if task.tries < TRIES:
                again.append(task._replace(tries=task.tries + 1))
            else:
                yield task, WorkerKilledError(_how(code))
        else:
            idle.append(worker)
            yield task, outcome


def _send(worker: _Worker, job: Job) -> None:
    """Give a job to a worker; one that cannot be sent as the error that says so, which the worker then returns."""
    try:
        message = pickle.dumps((job.function, job.arguments))
    except Exception as problem:
        message = pickle.dumps((_refuse, (f"{type(problem).__name__}: {problem}",)))
    with suppress(OSError):  # the worker has been killed: its pipe ends, and whoever waits for the answer sees that
        worker.connection.send_bytes(message)


def _refuse(reason: str) -> None:
    raise ValueError(f"it cannot be sent to a worker: {reason}")


def _how(code: int) -> str:
    ended = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit status {code}"
    memory = ", which is how a lack of memory ends it" if ended == "SIGKILL" else ""
    return f"its worker died {TRIES} times (by {ended}{memory})"


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """What starts in this scope never gets a Ctrl-C: a terminal sends it to all, and the parent decides."""
    resource_tracker.ensure_running()  # which would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# In the worker


def _work(pipe: connection.Connection) -> None:
    """Do what comes through the pipe until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()
    with suppress(EOFError, OSError):  # the parent has ended
        while True:
            pipe.send_bytes(_outcome(pipe.recv_bytes()))


def _end_with(parent: int) -> None:
    """Wait for the end of the parent, however it ends, and end as well, in the middle of whatever is done."""
    connection.wait([parent])
    os._exit(1)


def _outcome(message: bytes) -> bytes:
    """What the function of a job returns or raises, pickled; of an error that does not survive that its words."""
    try:
        function, arguments = pickle.loads(message)
        return pickle.dumps(function(*arguments))
    except Exception as problem:
        with suppress(Exception):
            kept = pickle.dumps(problem)
            pickle.loads(kept)
            return kept
        return pickle.dumps(RuntimeError(f"{type(problem).__name__}: {problem}"))
