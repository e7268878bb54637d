"""Files are read in threads, in order, and not all at once."""

import threading

import pytest

from speechprompt.runtime import reading_ahead
from speechprompt.runtime.reading_ahead import read_ahead


@pytest.mark.parametrize("threads", [0, 3])
def test_results_come_in_the_order_of_the_items(threads):
    assert list(read_ahead(lambda n: n * n, range(500), threads)) == [n * n for n in range(500)]


@pytest.mark.parametrize("threads", [0, 3])
def test_an_error_comes_where_its_item_would(threads):
    def read(n):
        if n == 7:
            raise ValueError("broken")
        return n

    results = read_ahead(read, range(300), threads)
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(ValueError, match="broken"):
        next(results)


def test_only_so_much_is_read_ahead(monkeypatch):
    monkeypatch.setattr(reading_ahead, "PER_THREAD", 4)
    taken = []

    def items():
        for n in range(100):
            taken.append(n)
            yield n

    results = read_ahead(lambda n: threading.get_ident(), items(), 2)
    assert next(results) != threading.get_ident()
    assert len(taken) == 8
    results.close()
