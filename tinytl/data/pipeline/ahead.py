"""Work that threads do a little ahead of the one who asks for it."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, depth: int
) -> Generator[Result, None, None]:
    """Yields `function(item)` for each item, in order, computed by threads in advance.

    What a call raises is raised here when its turn comes. Once this ends, by an error or because it
    is closed, no thread is left, and what was not begun never is.

    Args:
        function: Called by any of the threads, so for several items at once.
        items: Taken one after the other, as they are needed.
        threads: How many threads.
        depth: How many results there are at most that were not asked for yet.
    """
    pool = pool_of(threads)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def pool_of(threads: int) -> ThreadPoolExecutor:
    """Returns a pool whose threads run torch's kernels alone, without further threads below them.

    An image is too little work for several threads, which would wait for each other.
    """
    # a thread that never looked takes the number that was set last, by whichever thread
    torch.get_num_threads()
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
