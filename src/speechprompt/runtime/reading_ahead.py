"""Reading files in threads ahead of the work on them, and writing behind it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["read_ahead", "write_behind"]

Item = TypeVar("Item")
Result = TypeVar("Result")

# What each thread has read, or is to read, before the first of it is used.
PER_THREAD = 64


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """Yield ``read(item)`` in the order of the items; an error comes where its item would.

    Args:
        read: Reads one item; it should release the interpreter, as decoding audio does.
        items: The items.
        threads: Number of threads; with none, each item is read when it is asked for.
    """
    if not threads:
        yield from map(read, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) == threads * PER_THREAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def write_behind(write: Callable[..., None], in_thread: bool) -> Iterator[Callable[..., None]]:
    """Yield ``write``, or what lets a thread call it, in order, while the next work is done.

    One call waits at most. An error is raised at the next call, or at the end.
    """
    if not in_thread:
        yield write
        return
    waiting: deque[Future[None]] = deque()

    def later(*arguments: object) -> None:
        if waiting:
            waiting.popleft().result()
        waiting.append(pool.submit(write, *arguments))

    with ThreadPoolExecutor(1) as pool:
        yield later
        while waiting:
            waiting.popleft().result()
