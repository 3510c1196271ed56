"""Weight files as arrays. Nothing in a file is ever run: it is measured, checked, and viewed as numbers."""
import json
import math
import mmap
import os
import stat
from collections.abc import Mapping

import ml_dtypes
import numpy as np

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
# 40,000 tensors at 100 bytes each. safetensors itself allows 100 MB, which as Python objects are gigabytes.
MAX_HEADER = 4 << 20
SAFETENSORS_DTYPES = {
    "BOOL": np.dtype(bool), "U8": np.dtype("u1"), "I8": np.dtype("i1"), "U16": np.dtype("<u2"), "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"), "I32": np.dtype("<i4"), "U64": np.dtype("<u8"), "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16), "F32": np.dtype("<f4"), "F64": np.dtype("<f8"),
}


class WeightsError(ValueError):
    """A weight file that cannot be used; the message says which, why, and what to do."""


class Arrays(Mapping):
    """The arrays of a weight file, name -> NumPy array, in the file's order.

    Arrays are views of the file where it allows that: read-only, and read from disk when they are used.

    Attributes:
        path: the file.
        format: "safetensors", "pytorch" or "keras".
        metadata: {str: str}, what a safetensors file says about itself.
    """

    def __init__(self, arrays, path, format, metadata=None):
        self.path, self.format, self.metadata = path, format, metadata or {}
        self._arrays = {check_name(name): usable(array, name) for name, array in arrays.items()}

    def __getitem__(self, name):
        return self._arrays[name]

    def __iter__(self):
        return iter(self._arrays)

    def __len__(self):
        return len(self._arrays)

    def __repr__(self):
        return f"<{len(self)} arrays of {self.path} ({self.format})>"


def read(path):
    """Read a weight file: safetensors, PyTorch's .pth and .pt, or Keras's .h5 and .weights.h5.

    The format is told by the content. Nothing that the file names is imported or called, and no other file is opened.

    Args:
        path: the file.

    Returns:
        `Arrays`, {name: NumPy array}.

    Raises:
        WeightsError: if the file is damaged, of no known format, or holds more than numbers.
        FileNotFoundError, IsADirectoryError, PermissionError: if it cannot be opened.

    Example:
        >>> arrays = read("resnet18.safetensors")
        >>> arrays["conv1.weight"].shape
        (64, 3, 7, 7)
    """
    path = os.path.expanduser(os.fspath(path))
    data = map_file(path)
    try:
        if data[:8] == HDF5:
            from kerazoo.weights import hdf5

            return hdf5.read_keras(data, path)
        if data[:4] in ZIP:
            from kerazoo.weights import pickles

            return pickles.read_zip(data, path)
        # Before pickles: the length of a header may begin with their first byte. Theirs never have a brace there.
        if data[8:9] == b"{":
            return read_safetensors(data, path)
        if data[:1] == b"\x80":
            from kerazoo.weights import pickles

            return pickles.read_legacy(data, path)
        if data[257:262] == b"ustar":
            raise WeightsError("is in PyTorch's oldest format, a tar archive. Load it with PyTorch and save it again.")
        raise WeightsError(
            f"is no weight file: it starts with {data[:12]!r}. kerazoo reads .safetensors, PyTorch's .pth and .pt, and "
            "Keras's .h5. If it was downloaded, see whether a web page or a Git LFS pointer came instead."
        )
    except WeightsError as error:
        raise WeightsError(f"{path} {error}") from None
    except Exception as error:
        # Damage shows itself anywhere, down to the memory that is not there for a size that is wrong.
        raise WeightsError(
            f"{path} is broken and cannot be read ({type(error).__name__}: {quote(error)}). Fetch or save it anew."
        ) from error


def map_file(path):
    """Map a file into memory, read-only."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"{path} is a folder. Name the weight file in it.")
        if not stat.S_ISREG(status.st_mode):
            # Opening a pipe would wait forever.
            raise WeightsError(f"{path} is not a regular file. Copy the weights into one.")
        if not status.st_size:
            raise WeightsError(f"{path} is empty. Fetch or save it anew.")
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no weight file {path}.") from None
    except PermissionError:
        raise PermissionError(f"{path} may not be read. Change its permissions, or copy it.") from None
    except IsADirectoryError:
        raise
    except (OSError, TypeError, ValueError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{quote(path)} cannot be opened ({quote(error)}).") from None


def read_safetensors(data, path):
    """Read the length of the header, the header (JSON), and view the rest by it."""
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER:
        raise refused(f"its header says it is {length} bytes long; the limit is {MAX_HEADER}")
    if 8 + length > len(data) or length < 2:
        raise broken(f"its header should be {length} bytes long, and the file has {len(data)} bytes")
    header = json.loads(
        str(data[8:8 + length], "utf-8"), object_pairs_hook=distinct, parse_int=small_int, parse_float=no_number,
        parse_constant=no_number,
    )
    if type(header) is not dict:
        raise broken("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if type(metadata) is not dict or not all(type(value) is str for value in metadata.values()):
        raise broken("its __metadata__ does not map strings to strings")
    start, arrays, spans = 8 + length, {}, []
    for name, entry in header.items():
        dtype, shape, begin, end = check_entry(name, entry)
        spans.append((begin, end, name))
        if start + end > len(data):
            raise broken(f"tensor {quote(name)} ends {start + end - len(data)} bytes behind the end of the file")
        arrays[name] = np.ndarray(shape, dtype, buffer=data, offset=start + begin)
    spans.sort(key=lambda span: span[:2])
    position = 0
    for begin, end, name in spans:
        if begin != position:
            raise broken(f"tensor {quote(name)} starts at {begin} and the one before it ends at {position}")
        position = end
    if start + position != len(data):
        raise broken(f"{len(data) - start - position} bytes at its end belong to no tensor")
    return Arrays(arrays, path, "safetensors", metadata)


def check_entry(name, entry):
    """Check what the header says of one tensor -> dtype, shape, begin, end."""
    if type(entry) is not dict or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise broken(f"tensor {quote(name)} is not described by dtype, shape and data_offsets alone")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(dtype) is not str or dtype not in SAFETENSORS_DTYPES:
        raise refused(f"tensor {quote(name)} is of type {quote(dtype)}; known are {', '.join(SAFETENSORS_DTYPES)}")
    dtype = SAFETENSORS_DTYPES[dtype]
    if type(shape) is not list or type(offsets) is not list or len(offsets) != 2:
        raise broken(f"tensor {quote(name)} has shape {quote(shape)} and offsets {quote(offsets)}")
    begin, end = offsets
    size = check_shape(name, shape) * dtype.itemsize
    if type(begin) is not int or type(end) is not int or not 0 <= begin <= end or end - begin != size:
        raise broken(f"tensor {quote(name)} needs {size} bytes and has {quote(begin)} to {quote(end)}")
    return dtype, tuple(shape), begin, end


def check_shape(name, shape):
    """Check a shape before NumPy sees it -> the number of elements."""
    if len(shape) > 32 or not all(type(size) is int and 0 <= size < 1 << 40 for size in shape):
        raise broken(f"array {quote(name)} has shape {quote(shape)}")
    # NumPy counts bytes in 63 bits, and leaves zeros out.
    if math.prod(size for size in shape if size) >= 1 << 59:
        raise broken(f"array {quote(name)} has shape {quote(shape)}")
    return math.prod(shape)


def check_name(name):
    # A lone surrogate or a line end would break the first message that shows it.
    if type(name) is not str or not name.isprintable() or len(name) > 1000:
        raise refused(f"an array is called {quote(name)}")
    return name


def usable(array, name):
    """Return the array as NumPy expects it; a view of an odd address is copied, as not every library takes it."""
    if array.dtype == bool and array.size and array.view(np.uint8).max() > 1:
        raise broken(f"array {quote(name)} is of booleans and holds other bytes than 0 and 1")
    return np.require(array, requirements="A")


def inflated_limit(size):
    """How many bytes a file of this size may unpack to. Weights hardly shrink; what does is a trap or full of zeros."""
    return min(4 * size + (1 << 20), size + (64 << 20))


def distinct(pairs):
    result = dict(pairs)
    if len(result) != len(pairs):
        raise broken("a name occurs twice in its header")
    return result


def small_int(digits):
    return int(digits) if len(digits) <= 20 else no_number(digits)


def no_number(text):
    raise broken(f"its header holds the number {quote(text)}")


def quote(value):
    """What a file says, on one short line. The repr of a nested value can be as long as its maker wishes."""
    if isinstance(value, (str, bytes)):
        text = repr(value[:100])
    elif isinstance(value, BaseException) or type(value) in (int, bool, float):
        text = str(value)
    elif type(value) in (list, tuple) and len(value) <= 100 and all(type(item) is int for item in value):
        text = repr(value)
    else:
        text = f"a {type(value).__name__}"
    text = "".join(character if character.isprintable() else " " for character in text[:200])
    return text if len(text) <= 100 else f"{text[:97]}..."


def broken(why):
    return WeightsError(f"is broken: {why}. Fetch or save it anew.")


def refused(why):
    return WeightsError(f"is refused: {why}. Load it with the library that wrote it, and save plain weights.")
