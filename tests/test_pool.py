"""The pool replaces a dead worker, tries its job once more, and leaves nobody behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from processes import alive, until

from radio_bnn import pool
from radio_bnn.pool import Job, WorkerKilledError, in_order, results


def square(n: int) -> int:
    return n * n


def killed(n: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_once(marker: Path) -> str:
    """Dies the first time, so that only the second try can answer."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "the second try"


def ended(status: int) -> None:
    os._exit(status)


class Odd(Exception):  # noqa: N818
    """An error that pickle cannot make again."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def odd(n: int) -> None:
    raise Odd(n, n)


def forever(pid_file: Path) -> None:
    pid_file.with_suffix(".new").write_text(str(os.getpid()))
    pid_file.with_suffix(".new").rename(pid_file)
    threading.Event().wait()


def jobs(function, *arguments) -> list[Job]:
    return [Job(f"{function.__name__} {argument}", function, (argument,)) for argument in arguments]


def test_every_job_is_done_once_by_few_processes():
    found = {job.name: value for job, value in results(jobs(square, *range(7)), 2)}
    assert found == {f"square {n}": n * n for n in range(7)}
    assert not multiprocessing.active_children()


def test_a_dead_worker_is_replaced_and_only_its_job_is_tried_again(tmp_path):
    dying = [*jobs(killed_once, tmp_path / "a"), *jobs(killed, 0), *jobs(ended, 3)]
    found = {job.name: value for job, value in results([*jobs(square, 1, 2), *dying, *jobs(square, 3)], 2)}
    assert [found[f"square {n}"] for n in (1, 2, 3)] == [1, 4, 9]
    assert found[f"killed_once {tmp_path / 'a'}"] == "the second try"
    assert isinstance(found["killed 0"], WorkerKilledError)
    assert "its worker died 2 times (by SIGKILL, which is how a lack of memory ends it)" in str(found["killed 0"])
    assert "died 2 times (by exit status 3)" in str(found["ended 3"])


def waits_for_the_third(n: int, folder: Path) -> tuple[int, bool]:
    """The first job ends after the third; says whether the first had ended when this one began."""
    after_first = (folder / "first").exists()
    if n == 0:
        until((folder / "third").exists)
        (folder / "first").touch()
    if n == 2:
        (folder / "third").touch()
    return n, after_first


def test_order_is_kept_and_no_more_than_a_few_are_begun_ahead(tmp_path):
    taken = []
    several = (taken.append(n) or Job(str(n), waits_for_the_third, (n, tmp_path)) for n in range(6))
    found = in_order(several, 2, ahead=3)
    assert next(found) == (0, False) and taken[:3] == [0, 1, 2]
    assert list(found) == [(1, False), (2, False), (3, True), (4, True), (5, True)]
    assert not multiprocessing.active_children()


def test_order_is_kept_when_a_worker_dies_and_what_fails_is_raised_at_its_turn(tmp_path):
    some = [
        *jobs(square, 1),
        *jobs(killed_once, tmp_path / "a"),
        *jobs(square, 2),
        *jobs(killed, 0),
        *jobs(square, 3),
    ]
    found = in_order(some, 2)
    assert [next(found) for _ in range(3)] == [1, "the second try", 4]
    with pytest.raises(WorkerKilledError, match="died 2 times"):
        next(found)
    assert not multiprocessing.active_children()


def own_pid() -> int:
    return os.getpid()


def killed_once_when_told(folder: Path) -> str:
    until((folder / "now").exists)
    return killed_once(folder / "dead")


def test_a_second_try_is_never_given_to_a_worker_that_died_idle(tmp_path):
    some = results([Job("idle", own_pid, ()), *jobs(killed_once_when_told, tmp_path)], 2)
    _, idle = next(some)
    os.kill(idle, signal.SIGKILL)
    until(lambda: not alive(idle))
    (tmp_path / "now").touch()
    assert [value for _, value in some] == ["the second try"] and not multiprocessing.active_children()


def test_what_a_job_raises_is_its_result_also_where_pickle_fails():
    local = lambda n: n  # noqa: E731
    found = {job.function: value for job, value in results([*jobs(odd, 2), *jobs(local, 1), *jobs(square, 2)], 1)}
    assert type(found[odd]) is RuntimeError and str(found[odd]) == "Odd: 2 and 2"
    assert type(found[local]) is ValueError and "cannot be sent to a worker" in str(found[local])
    assert found[square] == 4


def test_an_interrupt_ends_the_workers_in_the_middle_of_their_jobs(tmp_path):
    files = [tmp_path / "0", tmp_path / "1"]

    def interrupt(ends):
        until(lambda: all(file.exists() for file in files))
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pool.connection, "wait", interrupt)
        list(results(jobs(forever, *files), 2))
    assert not any(alive(int(file.read_text())) for file in files) and not multiprocessing.active_children()


PARENT = """
import signal
import sys
from pathlib import Path
from test_pool import forever, jobs
from radio_bnn.pool import results
if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores
    list(results(jobs(forever, *map(Path, sys.argv[1:])), 2))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_workers_end_with_their_parent_however_it_ends(tmp_path, number):
    files = [tmp_path / "0", tmp_path / "1"]
    (tmp_path / "parent.py").write_text(PARENT)
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    command = [sys.executable, str(tmp_path / "parent.py"), *map(str, files)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}) as parent:
        until(lambda: all(file.exists() for file in files))
        parent.send_signal(number)
    pids = [int(file.read_text()) for file in files]
    until(lambda: not any(map(alive, pids)))
