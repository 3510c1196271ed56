"""A pickle machine that can build nothing but descriptions of tensors.

A pickle is a program. This machine knows only those instructions that build lists, dictionaries, strings and numbers.
"Call" makes the description of a tensor, or a blank, if the name called is on a short list; else the reading ends.
Nothing is imported. Steps and bytes are counted, so that a small file cannot ask for much work.
"""
import struct
from typing import NamedTuple

import ml_dtypes
import numpy as np

from kerazoo.weights.readers import WeightsError, broken, quote, refused

# A tensor takes some 40 steps and 100 bytes; a checkpoint with its optimizer holds a few thousand tensors.
MAX_STEPS, MAX_BYTES = 1_000_000, 16 << 20
STORAGES = {
    f"{kind}Storage": np.dtype(dtype) for kind, dtype in {
        "Double": "<f8", "Float": "<f4", "Half": "<f2", "BFloat16": ml_dtypes.bfloat16, "Long": "<i8", "Int": "<i4",
        "Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": bool,
    }.items()
}


class Name(NamedTuple):
    """What a pickle names, in order to call it."""
    module: str
    name: str


class Storage(NamedTuple):
    dtype: np.dtype
    key: str
    count: int


class Tensor(NamedTuple):
    storage: Storage
    offset: int
    shape: tuple
    strides: tuple


class Blank:
    """Stands for what is no array, such as a setting or a state of the optimizer; holds nothing."""


BLANK = Blank()


def tensor(storage, offset, shape, strides, *rest):
    # The third of the rest says whether the numbers are to be conjugated or negated.
    if type(storage) is not Storage or type(shape) is not tuple or type(strides) is not tuple or any(rest[2:3]):
        raise refused("it holds a tensor that is not plain numbers")
    return Tensor(storage, offset, shape, strides)


def parameter(data, *rest):
    return data


def ordered_dict(pairs=()):
    # Items come by instructions of their own, but in files that Python 2 wrote.
    if type(pairs) not in (list, tuple):
        raise TypeError("no pairs")
    return {key: value for key, value in pairs if type(key) is str}


def blank(*arguments):
    return BLANK


CALLS = {
    ("collections", "OrderedDict"): ordered_dict,
    ("torch._utils", "_rebuild_tensor"): tensor,
    ("torch._utils", "_rebuild_tensor_v2"): tensor,
    ("torch._utils", "_rebuild_parameter"): parameter,
    ("torch.nn.parameter", "Parameter"): parameter,
    ("torch", "Size"): lambda sizes=(): sizes,
    # What stands beside the weights in the checkpoints of common training scripts: nothing is made of it.
    **dict.fromkeys([
        ("argparse", "Namespace"), ("collections", "Counter"), ("collections", "defaultdict"), ("_codecs", "encode"),
        ("numpy", "dtype"), ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"),
        ("torch", "device"), ("torch.serialization", "_get_layout"),
    ], blank),
}
VALUES = {("torch", name) for name in (
    "float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool",
)}


class Machine:
    """Runs one pickle, from `data[position:]`.

    Attributes:
        result: what the pickle made, of dict, list, tuple, str, bytes, numbers, `Tensor` and `BLANK`.
        position: behind its end.
        storages: {key: Storage}, all that it mentions.
    """

    def __init__(self, data, position=0):
        self.data, self.position, self.end = data, position, min(len(data), position + MAX_BYTES)
        self.stack, self.below, self.memo, self.storages, self.steps = [], [], {}, {}, 0
        code = None
        while code != STOP:
            if self.position >= self.end:
                raise broken("a pickle in it has no end, or is longer than 16 MB")
            code = data[self.position]
            self.position += 1
            if code not in STEPS:
                raise refused(f"a pickle in it has the instruction {bytes([code])!r}, which no weights need")
            self.count(1)
            STEPS[code](self)
        self.result = self.popped(1)[0]

    def count(self, steps):
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise refused(f"a pickle in it takes more than {MAX_STEPS} steps")

    def take(self, length):
        begin, self.position = self.position, self.position + length
        if self.position > self.end:
            raise broken("a string in its pickle is longer than the pickle")
        return self.data[begin:self.position]

    def number(self, layout):
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def text(self, layout):
        return self.take(self.number(layout)).decode()

    def line(self):
        end = self.data.find(b"\n", self.position, self.position + 300)
        if end < 0:
            raise broken("a name in its pickle does not end")
        return self.take(end + 1 - self.position)[:-1].decode()

    def push(self, value):
        self.stack.append(value)

    def mark(self):
        self.below.append(self.stack)
        self.stack = []

    def marked(self):
        if not self.below:
            raise broken("its pickle takes values that are not there")
        values, self.stack = self.stack, self.below.pop()
        return values

    def popped(self, count):
        if len(self.stack) < count:
            raise broken("its pickle takes values that are not there")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def target(self, kind):
        if not self.stack or type(self.stack[-1]) not in (kind, Blank):
            raise broken(f"its pickle fills what is no {kind.__name__}")
        return self.stack[-1]

    def put(self, index):
        value, = self.popped(1)
        self.push(value)
        self.memo[index] = value

    def get(self, index):
        if index not in self.memo:
            raise broken("its pickle refers to a value that is not there")
        self.push(self.memo[index])

    def set_items(self, values):
        target = self.target(dict)
        if type(target) is dict:
            # No name of an array is anything but a string, and the hash of a tuple can take forever.
            target.update((key, value) for key, value in zip(values[::2], values[1::2], strict=True)
                          if type(key) is str)

    def append(self, values):
        target = self.target(list)
        if type(target) is list:
            target.extend(values)

    def find(self, module, name):
        found = Name(module, name)
        if type(module) is not str or type(name) is not str:
            raise broken("a name in its pickle is no string")
        if found in CALLS or module in ("torch", "torch.cuda") and name in STORAGES:
            return self.push(found)
        if found in VALUES:
            return self.push(BLANK)
        dotted = quote(f"{module}.{name}")
        if all(self.data.find(word, 0, self.end) >= 0 for word in (b"_modules", b"_parameters")):
            raise WeightsError(
                f"holds a pickled module, {dotted}, which is code as much as weights, and kerazoo runs none. Load it "
                "with PyTorch where you trust it, and save model.state_dict()."
            )
        raise WeightsError(
            f"is refused: it names {dotted}, which is no array, and kerazoo runs nothing that a file names. Load it "
            "with PyTorch where you trust it, and save model.state_dict() alone."
        )

    def call(self):
        function, arguments = self.popped(2)
        if type(function) is not Name or function not in CALLS or type(arguments) is not tuple:
            raise refused("its pickle calls what it may not")
        # Arguments may be shared: long, often used, and written once.
        self.count(sum(len(item) for item in arguments if type(item) in (list, tuple, str)) + len(arguments))
        try:
            self.push(CALLS[function](*arguments))
        except (TypeError, ValueError) as error:
            if isinstance(error, WeightsError):
                raise
            raise broken(f"its pickle calls {function.name} with what that does not take") from None

    def build(self):
        # Sets attributes, of a blank or of what has none that matter, as OrderedDict's _metadata.
        value, _ = self.popped(2)
        if type(value) not in (dict, Blank, Tensor):
            raise refused("its pickle sets attributes of what has none")
        self.push(value)

    def storage(self):
        identity, = self.popped(1)
        if type(identity) is tuple and identity and identity[0] == "module":
            raise WeightsError("holds a pickled module. Load it with PyTorch where you trust it, and save "
                               "model.state_dict().")
        if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
            raise broken("its pickle refers to something beside it that is no storage")
        _, kind, key, _, count = identity[:5]
        if type(kind) is not Name or kind.name not in STORAGES:
            raise refused("it holds a storage of an unknown type")
        if type(key) is not str or type(count) is not int or count < 0:
            raise broken(f"storage {quote(key)} has {quote(count)} elements")
        if identity[5:] not in ((), (None,)):
            raise refused("it holds a storage that is a part of another")
        storage = Storage(STORAGES[kind.name], key, count)
        if self.storages.setdefault(key, storage) != storage:
            raise broken(f"storage {quote(key)} is described twice, and not alike")
        self.push(storage)


STOP = ord(".")
# The instructions by their codes, as listed in Python's pickletools.
STEPS = {
    STOP: lambda machine: None,
    0x80: lambda machine: machine.take(1),  # PROTO
    0x95: lambda machine: machine.take(8),  # FRAME
    ord("("): Machine.mark,
    ord("N"): lambda machine: machine.push(None),
    0x88: lambda machine: machine.push(True),
    0x89: lambda machine: machine.push(False),
    ord("K"): lambda machine: machine.push(machine.number("<B")),
    ord("M"): lambda machine: machine.push(machine.number("<H")),
    ord("J"): lambda machine: machine.push(machine.number("<i")),
    0x8A: lambda machine: machine.push(int.from_bytes(machine.take(machine.number("<B")), "little", signed=True)),
    ord("G"): lambda machine: machine.push(machine.number(">d")),
    ord("X"): lambda machine: machine.push(machine.text("<I")),
    0x8C: lambda machine: machine.push(machine.text("<B")),
    0x8D: lambda machine: machine.push(machine.text("<Q")),
    ord("U"): lambda machine: machine.push(machine.text("<B")),  # a string of Python 2
    ord("T"): lambda machine: machine.push(machine.text("<I")),
    ord("C"): lambda machine: machine.push(machine.take(machine.number("<B"))),
    ord("B"): lambda machine: machine.push(machine.take(machine.number("<I"))),
    ord("]"): lambda machine: machine.push([]),
    ord("a"): lambda machine: machine.append(machine.popped(1)),
    ord("e"): lambda machine: machine.append(machine.marked()),
    ord(")"): lambda machine: machine.push(()),
    ord("t"): lambda machine: machine.push(tuple(machine.marked())),
    0x85: lambda machine: machine.push(tuple(machine.popped(1))),
    0x86: lambda machine: machine.push(tuple(machine.popped(2))),
    0x87: lambda machine: machine.push(tuple(machine.popped(3))),
    ord("}"): lambda machine: machine.push({}),
    ord("s"): lambda machine: machine.set_items(machine.popped(2)),
    ord("u"): lambda machine: machine.set_items(machine.marked()),
    ord("q"): lambda machine: machine.put(machine.number("<B")),
    ord("r"): lambda machine: machine.put(machine.number("<I")),
    0x94: lambda machine: machine.put(len(machine.memo)),
    ord("h"): lambda machine: machine.get(machine.number("<B")),
    ord("j"): lambda machine: machine.get(machine.number("<I")),
    ord("c"): lambda machine: machine.find(machine.line(), machine.line()),
    0x93: lambda machine: machine.find(*machine.popped(2)),
    ord("R"): Machine.call,
    0x81: Machine.call,
    ord("b"): Machine.build,
    ord("Q"): Machine.storage,
}
