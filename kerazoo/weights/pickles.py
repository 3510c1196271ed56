"""PyTorch's files, read without PyTorch: a zip of one pickle and raw storages, or the older stream of pickles."""
import numpy as np

from kerazoo.weights.archive import Archive
from kerazoo.weights.machine import MAX_BYTES, Machine, Tensor
from kerazoo.weights.readers import Arrays, WeightsError, broken, check_shape, quote, refused

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# Where training scripts keep the weights in a checkpoint; averaged ones last.
PLACES = ("state_dict", "model", "net", "state_dict_ema", "model_ema")
# What DataParallel, torch.compile and Lightning put before all names.
PREFIXES = ("module.", "_orig_mod.", "model.")
SAVE = "Save model.state_dict() with torch.save."


def read_zip(data, path):
    """Read what `torch.save` writes since PyTorch 1.6."""
    archive = Archive(data)
    folder = pickle_folder(archive.entries)
    if archive.entries[f"{folder}data.pkl"].size > MAX_BYTES:
        raise refused("its pickle is longer than 16 MB")
    order = bytes(archive[f"{folder}byteorder"]) if f"{folder}byteorder" in archive.entries else b"little"
    if order not in (b"little", b"big"):
        raise broken(f"its byte order is {quote(order)}")
    machine = Machine(bytes(archive[f"{folder}data.pkl"]))

    def content(storage):
        raw = np.frombuffer(archive[f"{folder}data/{storage.key}"], np.uint8)
        if raw.size != storage.count * storage.dtype.itemsize:
            raise broken(f"storage {quote(storage.key)} has {raw.size} bytes for {storage.count} elements")
        if order == b"big" and storage.dtype.itemsize > 1:
            raw = raw.view(f"u{storage.dtype.itemsize}").byteswap()
        return raw

    return arrays_of(machine.result, content, path)


def pickle_folder(entries):
    """Find where in the zip the pickle is -> "name/"."""
    found = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if "config.json" in entries:
        raise WeightsError(
            "is a whole Keras model, which can hold code. Load it with kerazoo.load_model where you trust it, or save "
            "its weights alone: model.save_weights('name.weights.h5')."
        )
    if len(found) != 1:
        raise WeightsError(f"is a zip file and not one that torch.save wrote: it has no data.pkl. {SAVE}")
    folder = found[0][:-len("data.pkl")]
    if f"{folder}constants.pkl" in entries:
        raise WeightsError(f"is a TorchScript program, which is code as much as weights. {SAVE}")
    return folder


def read_legacy(data, path):
    """Read what `torch.save` wrote before PyTorch 1.6: pickles of a mark, the version, the system, the object and the
    keys of its storages; then each storage behind its length."""
    if b"\x8a\n" + MAGIC.to_bytes(10, "little") not in data[:40]:
        raise WeightsError(f"is a pickle and not one that torch.save wrote. {SAVE}")
    # A pickle says where it ends, and slices of bytes are faster than those of the file.
    head, position, results = data[:MAX_BYTES], 0, []
    for _ in range(5):
        machine = Machine(head, position)
        position = machine.position
        results.append(machine.result)
        if len(results) == 4:
            storages = machine.storages
    magic, protocol, system, result, keys = results
    if magic != MAGIC or protocol != PROTOCOL or type(system) is not dict or system.get("little_endian") is not True:
        raise refused("it is of an unknown version, or from a big-endian machine")
    if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(storages):
        raise broken("the list of its storages is not that of its tensors")
    contents = {}
    for key in keys:
        size = storages[key].count * storages[key].dtype.itemsize
        stated = int.from_bytes(data[position:position + 8], "little")
        if stated != storages[key].count or position + 8 + size > len(data):
            raise broken(f"storage {quote(key)} is not of {storages[key].count} elements, or cut off")
        contents[key] = np.frombuffer(data, np.uint8, size, position + 8)
        position += 8 + size
    if position != len(data):
        raise broken(f"{len(data) - position} bytes at its end belong to nothing")
    return arrays_of(result, lambda storage: contents[storage.key], path)


def arrays_of(result, content, path):
    """View the tensors of a state dict in their storages."""
    tensors = without_prefix(state_dict(result))
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    contents = {key: content(storage).view(storage.dtype) for key, storage in storages.items()}
    arrays = {name: view(name, tensor, contents[tensor.storage.key]) for name, tensor in tensors.items()}
    # Two names for one storage are common; a thousand are a way to make much of little.
    if sum(array.nbytes for array in arrays.values()) > 4 * sum(raw.nbytes for raw in contents.values()) + (1 << 20):
        raise refused("its tensors are many times as large as what is stored")
    return Arrays(arrays, path, "pytorch")


def view(name, tensor, stored):
    """View a tensor in its storage, once it is sure to lie inside."""
    offset, shape, strides = tensor.offset, tensor.shape, tensor.strides
    count = check_shape(name, shape)
    if len(strides) != len(shape) or not all(type(n) is int and 0 <= n < 1 << 59 for n in (offset, *strides)):
        raise broken(f"tensor {quote(name)} has offset {quote(offset)} and strides {quote(strides)}")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides)) if count else offset - 1
    if last >= stored.size or count > max(stored.size, 4096):
        raise broken(
            f"tensor {quote(name)} of shape {quote(shape)} does not fit its storage of {stored.size} elements"
        )
    if not count:
        return np.empty(shape, stored.dtype)
    itemsize = stored.itemsize
    # An axis of length one is never stepped along, and its stride may be anything.
    steps = [stride * itemsize if size > 1 else itemsize for size, stride in zip(shape, strides)]
    return np.ndarray(shape, stored.dtype, buffer=stored, offset=offset * itemsize, strides=steps)


def state_dict(result):
    """Find the state dict, which is the object itself or in a checkpoint."""
    if is_state_dict(result):
        return result
    if type(result) is not dict:
        kind = "a bare tensor" if type(result) is Tensor else f"a {type(result).__name__}"
        raise WeightsError(f"holds {kind} and not a dictionary of named tensors. {SAVE}")
    for place in PLACES:
        if is_state_dict(result.get(place)):
            return result[place]
    names = ", ".join(quote(name) for name in list(result)[:5])
    raise WeightsError(
        f"holds no dictionary of named tensors alone, neither itself nor under {', '.join(PLACES)}; it begins with: "
        f"{names or 'nothing'}. {SAVE}"
    )


def is_state_dict(value):
    return type(value) is dict and bool(value) and all(type(item) is Tensor for item in value.values())


def without_prefix(tensors):
    """Drop what wrappers put before all names, each once."""
    for _ in PREFIXES:
        for prefix in PREFIXES:
            if all(name.startswith(prefix) for name in tensors):
                tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
