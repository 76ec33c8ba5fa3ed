import subprocess
import sys
import threading
import time

import pytest
import torch

from tinytl.data.pipeline.ahead import ahead


def others() -> int:
    return threading.active_count() - 1


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("depth", [0, 2, 100])
def test_results_come_in_order(threads: int, depth: int) -> None:
    def square(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number**2

    found = list(ahead(square, range(20), threads=threads, depth=depth))
    assert found == [number**2 for number in range(20)]


def test_no_more_is_taken_than_the_depth_allows() -> None:
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = ahead(lambda number: number, items(), threads=2, depth=3)
    for number in range(10):
        assert next(results) == number
        assert len(taken) <= number + 4
    results.close()
    assert len(taken) <= 13


def test_an_error_comes_when_its_turn_comes_and_leaves_no_thread() -> None:
    def fail_at_3(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    before, found = others(), []
    with pytest.raises(ValueError, match="three"):
        for number in ahead(fail_at_3, range(100), threads=2, depth=5):
            found.append(number)
    assert found == [0, 1, 2]
    assert others() == before


def test_closing_leaves_no_thread_and_begins_nothing_more() -> None:
    begun = []

    def slow(number: int) -> int:
        begun.append(number)
        time.sleep(0.02)
        return number

    before = others()
    results = ahead(slow, range(100), threads=2, depth=50)
    next(results)
    results.close()
    assert others() == before
    assert len(begun) < 10


def test_the_threads_run_kernels_alone_and_the_caller_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = list(ahead(lambda _: torch.get_num_threads(), range(4), threads=2, depth=2))
        assert found == [1] * 4
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_caller_keeps_its_number_of_threads():
    program = (
        "import torch; torch.set_num_threads(3); from tinytl.data.pipeline.ahead import ahead;"
        "list(ahead(lambda n: torch.ones(n).sum(), range(4), threads=2, depth=2));"
        "print(torch.get_num_threads())"
    )
    # in a process of its own, whose main thread has not looked at the number yet
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert run.stdout.strip() == "3"
