"""Write files while the network runs, in a few threads whose errors are not lost."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["Background"]

T = TypeVar("T")

# Pictures are encoded outside of Python's lock. A GPU's network is far faster than one thread of these.
_MOST_THREADS = 8
_MOST_BYTES = 1 << 28


class Background(Generic[T]):
    """Runs jobs in a few threads and returns their results in the order of submission.

    The queue is bounded: twice as many jobs as there are threads, and 256 MiB besides one job. Submitting more waits
    for earlier jobs.

    Args:
        threads: How many; as many as there are cores, at most 8, when not given.
        most_bytes: How many bytes unfinished jobs may hold.

    Example:
        >>> background = Background(threads=2)
        >>> [background.submit(lambda number=number: number * 2, 1) for number in range(3)] and None
        >>> [future.result() for future in background.results(wait=True)]
        [0, 2, 4]
    """

    def __init__(self, threads: int | None = None, most_bytes: int = _MOST_BYTES) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.threads = threads or min(cores, _MOST_THREADS)
        self.most_bytes = most_bytes
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="pcpad-writer")
        self._waiting: deque[tuple[Future[T], int]] = deque()
        self._done: deque[Future[T]] = deque()

    def submit(self, job: Callable[[], T], size: int) -> None:
        """Submit a job; returns when there is room for it.

        Args:
            job: The function to run; its exception is in its result.
            size: The bytes that it holds until it is done.
        """
        while self._waiting and (
            len(self._waiting) >= 2 * self.threads or size + sum(held for _, held in self._waiting) > self.most_bytes
        ):
            self._take_first()
        self._waiting.append((self._pool.submit(job), size))

    def results(self, *, wait: bool = False) -> Iterator[Future[T]]:
        """The finished jobs, in the order of `submit`; each once.

        Args:
            wait: Whether to wait for all of them.

        Yields:
            The first ones, up to the first unfinished one.
        """
        while self._waiting and (wait or self._waiting[0][0].done()):
            self._take_first()
        while self._done:
            yield self._done.popleft()

    def close(self) -> None:
        """Wait for the submitted jobs; on Ctrl-C, those that have not started are dropped."""
        try:
            self._pool.shutdown()
        except BaseException:
            self._pool.shutdown(wait=False, cancel_futures=True)
            raise

    def _take_first(self) -> None:
        future = self._waiting[0][0]
        future.exception()  # waits
        self._waiting.popleft()
        self._done.append(future)
