"""Keras's HDF5 files: `.weights.h5` of Keras 3, and the `.h5` of weights or of a whole model that came before.

HDF5 can point into other files, promise terabytes that it does not hold, and load filters from shared libraries. A file
is walked through before any number is read, and refused if it has anything but groups and plain data sets.
"""
import math
import zlib

import h5py
import ml_dtypes
import numpy as np

from kerazoo.weights.attributes import string_attribute
from kerazoo.weights.readers import Arrays, WeightsError, broken, check_shape, inflated_limit, quote, refused

# Keras's files of the deepest published classifiers, of 1000 layers, have some 12,000 groups and data sets.
MAX_OBJECTS, MAX_DEPTH, MAX_CHUNKS = 20_000, 16, 10_000
DTYPES = {np.dtype(name) for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")}
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
# What Keras 3 puts around the groups of layers; and what is no weight: the optimizer's state, and a generator's.
LISTS, OTHERS = ("layers", "_layer_checkpoint_dependencies"), ("optimizer", "optimizer_weights", "seed_generator")


def read_keras(data, path):
    """Read the arrays of an HDF5 file, which is also given as bytes."""
    with h5py.File(path, "r") as file:
        walk = Walk(data)
        legacy, root = is_legacy(file), file
        if not legacy and (model := walk.children(file).get("model_weights")) is not None:
            legacy, root = True, model
        walk.group(root, ())
        if not legacy and not any(parts[-2:-1] == ("vars",) for parts in walk.datasets):
            raise WeightsError(
                "is an HDF5 file that Keras did not write, or one without weights: it has neither layer_names nor "
                "groups called vars. Save the weights with model.save_weights('name.weights.h5')."
            )
        arrays = {}
        for parts, dataset in walk.datasets.items():
            name = legacy_name(parts) if legacy else walk.keras3_name(parts)
            if name in arrays:
                raise broken(f"two of its arrays are called {quote(name)}")
            arrays[name] = numbers(dataset)
        return Arrays(arrays, path, "keras")


def is_legacy(file):
    return "layer_names" in file.attrs or "layer_names0" in file.attrs


def legacy_name(parts):
    """Name what lies at layer/layer/variable:0 "layer/variable"."""
    *groups, last = parts
    groups.append(last.split(":")[0])
    # The group of a layer, whose name may have slashes, holds its variables under their full names; Keras 3 may put the
    # model's name between.
    for length in range(1, len(groups) // 2 + 1):
        for start in range(length, len(groups) - length):
            if groups[:length] == groups[start:start + length]:
                return "/".join(groups[start:])
    return "/".join(groups)


class Walk:
    """Goes through all groups of a file, and checks each link and data set.

    Attributes:
        datasets: {path as a tuple: h5py data set}.
        names: {path as a tuple: the name of the layer}, of groups called vars.
    """

    def __init__(self, data):
        self.data, self.size, self.objects, self.declared, self.chunks = data, len(data), 0, 0, 0
        self.datasets, self.names = {}, {}

    def children(self, group):
        """The objects in a group; `vars` in the order of their numbers."""
        self.objects += len(group)
        if self.objects > MAX_OBJECTS:
            raise refused(f"it has more than {MAX_OBJECTS} groups and data sets")
        found = {}
        for name in sorted(group, key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name)):
            if type(name) is not str or "/" in name or name == ".":
                raise refused(f"something in it is called {quote(name)}")
            if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
                raise refused(f"{quote(name)} is a link to another place or file")
            if name not in OTHERS:
                found[name] = group[name]
        return found

    def group(self, group, path):
        if len(path) > MAX_DEPTH:
            raise refused(f"its groups are nested more than {MAX_DEPTH} deep")
        if path[-1:] == ("vars",):
            self.names[path[:-1]] = string_attribute(self.data, h5py.h5o.get_info(group.id).addr, b"name")
        for name, item in self.children(group).items():
            if isinstance(item, h5py.Group):
                self.group(item, (*path, name))
            elif isinstance(item, h5py.Dataset):
                self.dataset(item, "/".join((*path, name)))
                self.datasets[(*path, name)] = item
            else:
                raise refused(f"{quote(name)} is neither group nor data set")

    def dataset(self, item, name):
        """Check a data set by what the file says of it; nothing of it is read, but compressed chunks for their size."""
        properties = item.id.get_create_plist()
        if item.is_virtual or properties.get_external_count():
            raise refused(f"the numbers of {quote(name)} are in another file")
        if item.shape is None or item.dtype.newbyteorder("=") not in DTYPES and not is_bfloat16(item):
            raise refused(f"{quote(name)} holds {quote(str(item.dtype))} and no numbers")
        size = check_shape(name, item.shape) * item.dtype.itemsize
        self.declared += size
        if self.declared > inflated_limit(self.size):
            raise refused(f"it declares {self.declared} bytes of numbers and is {self.size} bytes long")
        filters = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
        if not set(filters) <= FILTERS:
            raise refused(f"{quote(name)} is packed with an unusual filter")
        if item.chunks is not None:
            self.check_chunks(item, name, filters)
        elif item.id.get_storage_size() != size:
            raise refused(f"{quote(name)} should have {size} bytes and has {item.id.get_storage_size()}")

    def check_chunks(self, item, name, filters):
        """See to it that all chunks are there, and unpack to what they should: HDF5 unpacks whatever there is."""
        count = math.prod(-(-size // chunk) for size, chunk in zip(item.shape, item.chunks))
        length = math.prod(item.chunks) * item.dtype.itemsize
        self.chunks += count
        if self.chunks > MAX_CHUNKS or length > inflated_limit(self.size) or item.id.get_num_chunks() != count:
            raise refused(f"{quote(name)} has {item.id.get_num_chunks()} of {count} chunks of {length} bytes")
        if h5py.h5z.FILTER_DEFLATE not in filters:
            return
        places = []
        item.id.chunk_iter(lambda info: places.append(info))
        for info in places:
            if info.size > self.size or info.filter_mask:
                raise broken(f"{quote(name)} has a chunk of {info.size} bytes")
            raw = item.id.read_direct_chunk(info.chunk_offset)[1]
            unpacker = zlib.decompressobj()
            # A checksum may stand behind the numbers.
            unpacked = len(unpacker.decompress(raw, length + 5))
            if not length <= unpacked <= length + 4 or not unpacker.eof:
                raise refused(f"{quote(name)} has a chunk that does not unpack to {length} bytes")

    def keras3_name(self, parts):
        """Name layers/conv2d/vars/0 "name of the layer/0"."""
        *groups, last = parts
        names = [
            self.names.get(tuple(groups[:index + 1])) or group
            for index, group in enumerate(groups) if group != "vars" and group not in LISTS
        ]
        return "/".join([*names, last])


def is_bfloat16(item):
    # HDF5 has no such type: Keras stores two bytes of nothing in particular, and says in an attribute what they are.
    return item.dtype == np.dtype("V2") and "dtype" in item.attrs


def numbers(dataset):
    array = np.asarray(dataset[()])
    if array.dtype.kind == "V":
        return array.view(ml_dtypes.bfloat16)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
