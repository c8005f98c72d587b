"""Independent jobs in processes here, or on a Dask cluster that exists already; through joblib either way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from aigiscan.errors import InputError, MissingDependencyError

Job = TypeVar("Job")
Result = TypeVar("Result")
#: seconds to wait for a scheduler
TIMEOUT = 15.0


def run_jobs(
    work: Callable[[Job], Result], tasks: Sequence[Job], *, jobs: int = 1, scheduler: str = ""
) -> Iterator[Result]:
    """``work(task)`` for every task, results in the order of the tasks.

    work: a function of a module, so that workers can import it. scheduler: address of a Dask scheduler, e.g.
    ``tcp://HOST:8786``; its workers need aigiscan installed. The tasks of a worker that dies are done again by another.
    """
    import joblib

    if not scheduler:
        yield from joblib.Parallel(n_jobs=jobs, return_as="generator", batch_size=1)(
            joblib.delayed(work)(task) for task in tasks
        )
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingDependencyError("--backend dask needs: pip install 'aigiscan[dask]'") from error
    try:
        client = Client(scheduler, timeout=TIMEOUT)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler}: {error}; start one with 'dask scheduler'"
        ) from None
    with client, joblib.parallel_config(backend="dask"):
        # one call per task: joblib's own batching would hand the tasks of a lost worker over all together
        yield from joblib.Parallel(batch_size=1)(joblib.delayed(work)(task) for task in tasks)
