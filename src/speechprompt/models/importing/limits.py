"""Limits of the work that a pickle may ask for.

A few bytes of a pickle can ask for any amount of work: a tuple of a tuple twice, forty times over,
takes 2**40 steps to hash, and a list can be copied again and again. Every step that is not paid for
by bytes of the file is counted here, and so are the steps themselves.
"""

import struct
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, ClassVar

__all__ = ["MAX_STEPS", "MAX_WORK", "BoundedWork", "LimitError"]

# Published checkpoints take fewer than 100,000 steps; one step may make an object of 200 bytes.
MAX_STEPS = 2**21
# Elements that are copied or hashed.
MAX_WORK = 2**25
INTEGER_BITS = 30


class LimitError(ValueError):
    """A pickle asks for more than any published model needs."""


class _Counted:
    """The file of an unpickler, which reads each step of a pickle by itself."""

    def __init__(self, file: Any) -> None:
        self.file, self.n_steps = file, 0

    def count(self, steps: int) -> None:
        """Count steps.

        Raises:
            LimitError: these are too many.
        """
        self.n_steps += steps
        if self.n_steps > MAX_STEPS:
            raise LimitError(f"its pickle takes more than {MAX_STEPS} steps")

    def read(self, size: int) -> bytes:
        """Read a step, or what belongs to it."""
        self.count(1)
        return self.file.read(size)

    def readline(self) -> bytes:
        """Read what belongs to a step of the oldest form."""
        self.count(1)
        return self.file.readline()


class BoundedWork:
    """A mixin for Python's reader of pickles, with a limit of steps, copies and hashes.

    Attributes:
        dispatch: The steps that it replaces.
        stack: What the steps work on.
        metastack: The stacks below, since the last marks.
        objects: Classes of the objects that a pickle may change.
    """

    stack: list[Any]
    metastack: list[list[Any]]
    objects: ClassVar[tuple[type, ...]] = ()

    def limit(self, file: Any) -> "_Counted":
        """Start to count; return the file to read from."""
        self.counted, self.work = _Counted(file), 0
        # What hashing a tuple costs, by its identity; the tuple is kept so that nothing takes it.
        self.tuples: dict[int, tuple[int, tuple]] = {}
        return self.counted

    def pay(self, work: int) -> None:
        """Count elements that are copied or hashed.

        Raises:
            LimitError: these are too many.
        """
        self.work += work
        if self.work > MAX_WORK:
            raise LimitError(f"its pickle copies or compares more than {MAX_WORK} elements")

    def cost(self, key: Any) -> int:
        """Steps that it takes to hash a value."""
        if type(key) is tuple:
            if id(key) not in self.tuples:
                # Those of the pickle are known by now; this one is of the reader.
                self.tuples[id(key)] = (1 + sum(map(self.cost, key)), key)
            return self.tuples[id(key)][0]
        return 1 + key.bit_length() // INTEGER_BITS if type(key) is int else 1

    def pay_keys(self, keys: Iterable[Any]) -> None:
        """Count what is hashed."""
        for key in keys:
            self.pay(self.cost(key))

    # What pickles call to make values, in place of the types themselves.

    def make_list(self, *items: Any) -> list:
        """A list."""
        self._pay_copies(items)
        return list(*items)

    def make_tuple(self, *items: Any) -> tuple:
        """A tuple, also a ``torch.Size``."""
        self._pay_copies(items)
        return self._known(tuple(*items))

    def make_set(self, *items: Any) -> set:
        """A set."""
        self._pay_copies(items)
        self.pay_keys(*items)
        return set(*items)

    def make_frozenset(self, *items: Any) -> frozenset:
        """A frozen set."""
        self._pay_copies(items)
        self.pay_keys(*items)
        return frozenset(*items)

    def make_dict(self, *items: Any) -> dict:
        """A dict, of a mapping or of pairs."""
        self._pay_copies(items)
        for pairs in items:
            self.pay_keys(pairs if isinstance(pairs, dict) else (pair[0] for pair in pairs))
        return dict(*items)

    def make_ordered(self, *items: Any) -> OrderedDict:
        """An ordered dict."""
        return OrderedDict(self.make_dict(*items))

    def _pay_copies(self, items: tuple) -> None:
        for one in items:
            self.pay(len(one))

    def _known(self, made: tuple) -> tuple:
        self.tuples[id(made)] = (1 + sum(map(self.cost, made)), made)
        return made

    # Steps that copy or hash.

    def _load_tuple(self) -> None:
        super().load_tuple()  # type: ignore[misc]  # typeshed omits the methods of steps
        self._known(self.stack[-1])

    def _load_tuple1(self) -> None:
        super().load_tuple1()  # type: ignore[misc]
        self._known(self.stack[-1])

    def _load_tuple2(self) -> None:
        super().load_tuple2()  # type: ignore[misc]
        self._known(self.stack[-1])

    def _load_tuple3(self) -> None:
        super().load_tuple3()  # type: ignore[misc]
        self._known(self.stack[-1])

    def _check_target(self, place: int, kind: type) -> None:
        """Check what a step changes; a tensor, for instance, could be made any size.

        Raises:
            LimitError: it is neither of a kind nor an object of the pickle.
        """
        target = self.stack[place] if place < 0 else self.metastack[-1][-1]
        if not isinstance(target, (kind, *self.objects)):
            raise LimitError(f"its pickle changes a {type(target).__name__}")

    def _load_setitem(self) -> None:
        self._check_target(-3, dict)
        self.pay_keys([self.stack[-2]])
        super().load_setitem()  # type: ignore[misc]

    def _load_setitems(self) -> None:
        self._check_target(0, dict)
        self.pay_keys(self.stack[::2])
        super().load_setitems()  # type: ignore[misc]

    def _load_items(self) -> None:
        self._check_target(0, set)
        self.pay_keys(self.stack)
        super().load_additems()  # type: ignore[misc]

    def _load_frozenset(self) -> None:
        self.pay_keys(self.stack)
        super().load_frozenset()  # type: ignore[misc]

    def _load_dict(self) -> None:
        self.pay_keys(self.stack[::2])
        super().load_dict()  # type: ignore[misc]

    def _load_reduce(self) -> None:
        self.pay(len(self.stack[-1]))
        super().load_reduce()  # type: ignore[misc]

    def _load_newobj(self) -> None:
        self.pay(len(self.stack[-1]))
        super().load_newobj()  # type: ignore[misc]

    def _load_newobj_ex(self) -> None:
        self.pay(len(self.stack[-1]) + len(self.stack[-2]))
        super().load_newobj_ex()  # type: ignore[misc]

    def load_build(self) -> None:
        """Set an object's state."""
        self._check_target(-2, OrderedDict)
        state = self.stack[-1]
        parts = state if isinstance(state, tuple) else (state,)
        self.pay(sum(len(part) for part in parts if isinstance(part, dict)))
        super().load_build()  # type: ignore[misc]

    def _load_frame(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))  # type: ignore[attr-defined]
        self.counted.count(size)  # a frame may hold as many steps as bytes
        self._unframer.load_frame(size)  # type: ignore[attr-defined]

    def _refuse(self) -> None:
        raise LimitError("its pickle has a step that no model needs")

    # By the byte that begins the step. The step "bytearray8" reserves what it announces before it
    # reads, and no model has one.
    dispatch: ClassVar[dict[int, Any]] = {
        ord("t"): _load_tuple,
        0x85: _load_tuple1,
        0x86: _load_tuple2,
        0x87: _load_tuple3,
        ord("s"): _load_setitem,
        ord("u"): _load_setitems,
        0x90: _load_items,
        0x91: _load_frozenset,
        ord("d"): _load_dict,
        ord("R"): _load_reduce,
        0x81: _load_newobj,
        0x92: _load_newobj_ex,
        ord("b"): load_build,
        0x95: _load_frame,
        0x96: _refuse,
    }
