"""What tests of properties share: inputs that are made up, and what must hold of them all.

Whatever the input, the result is right or one error of the package. Nothing runs, nothing is
written elsewhere, and no example takes long.
"""

import resource
import time
from contextlib import contextmanager

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

LONGEST_SECONDS, MOST_KIB = 10, 2**20  # of the processor


def examples(count):
    """The same examples in every run, each in a folder that earlier ones have used too."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@contextmanager
def soon(error=ValueError, path=""):
    """What is done inside ends soon, stays small, and raises one error only, which names a path."""
    began, size = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    caught = None
    try:
        yield
    except error as reason:
        caught = reason
    assert time.process_time() - began < LONGEST_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size < MOST_KIB
    assert caught is None or str(path) in str(caught)


# Text without what separates cells, words and lines, and without halves of characters.
LETTERS = st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"))
WORDS = st.text(LETTERS, min_size=1, max_size=6)
CELLS = st.text(st.one_of(LETTERS, st.sampled_from(" ,;\"'|=\\")), max_size=8)


def edited(content: bytes):
    """Strategy: bytes with some changed, cut out, doubled, or put in from elsewhere."""
    place = st.integers(0, max(len(content), 1) - 1)
    edit = st.tuples(
        st.sampled_from(["change", "cut", "double", "insert", "end"]),
        place,
        st.integers(1, 40),
        st.binary(min_size=1, max_size=8),
    )

    def apply(edits):
        result = bytearray(content)
        for kind, start, length, new in edits:
            if kind == "change":
                result[start : start + len(new)] = new
            elif kind == "cut":
                del result[start : start + length]
            elif kind == "double":
                result[start:start] = result[start : start + length]
            elif kind == "insert":
                result[start:start] = new
            else:
                del result[start:]
        return bytes(result)

    return st.lists(edit, min_size=1, max_size=4).map(apply)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False),
    st.text(LETTERS, max_size=6),
)
VALUES_OF_SETTINGS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(LETTERS, max_size=4), inner, max_size=3),
    ),
    max_leaves=8,
)
