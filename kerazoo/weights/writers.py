"""Weight files for others, written without their libraries: safetensors, and torchvision's state dicts.

Formats: https://github.com/huggingface/safetensors, and for `.pth` the ZIP archive that PyTorch has written since 1.6.
"""
import contextlib
import json
import math
import os
import struct
import zipfile

import numpy as np

from kerazoo import registry
from kerazoo.weights import transforms
from kerazoo.weights.about import named, traits
from kerazoo.weights.matching import find_slots
from kerazoo.weights.names import VARIABLES, find_layouts

# NumPy's name -> safetensors', and the class of PyTorch's storage.
TYPES = {
    "float64": ("F64", "DoubleStorage"), "float32": ("F32", "FloatStorage"), "float16": ("F16", "HalfStorage"),
    "bfloat16": ("BF16", "BFloat16Storage"), "int64": ("I64", "LongStorage"),
}


@contextlib.contextmanager
def replacing(path):
    """A name beside `path` to write to; the file takes the place of `path` once it is complete."""
    folder, name = os.path.split(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"There is no folder {folder} to write {name} to. Make it first.")
    # Keras looks at the ending.
    aside = os.path.join(folder, f".{os.getpid()}.{name}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(aside)


def write_safetensors(path, values, metadata=None):
    """Write a safetensors file, one array at a time.

    Args:
        path: the file, replaced in one step.
        values: {name: array or Keras variable}.
        metadata: {str: str}.
    """
    # Large types first, so that every array starts at a multiple of its type's size.
    values = dict(sorted(values.items(), key=lambda item: -width(item[1])))
    header, position = {"__metadata__": metadata} if metadata else {}, 0
    for name, value in values.items():
        size = math.prod(value.shape) * width(value)
        header[name] = {
            "dtype": TYPES[str(value.dtype)][0], "shape": list(value.shape),
            "data_offsets": [position, position + size],
        }
        position += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as aside, open(aside, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in values.values():
            file.write(raw(value))


def width(value):
    return 2 if str(value.dtype) == "bfloat16" else np.dtype(str(value.dtype)).itemsize


def raw(value):
    """The bytes of an array or a variable."""
    if not isinstance(value, np.ndarray):
        import keras

        value = keras.ops.convert_to_numpy(value)
    return np.ascontiguousarray(value).reshape(-1).view(np.uint8).data


def write_pytorch(path, arrays):
    """Write a state dict as `torch.save` does, for `torch.load(path, weights_only=True)`.

    Args:
        path: the file, replaced in one step.
        arrays: {name: array}.
    """
    top = os.path.basename(os.fspath(path)).split(".")[0] or "archive"
    with replacing(path) as aside, zipfile.ZipFile(aside, "w") as archive:
        write_entry(archive, f"{top}/data.pkl", pickle(arrays))
        write_entry(archive, f"{top}/byteorder", b"little")
        for i, array in enumerate(arrays.values()):
            write_entry(archive, f"{top}/data/{i}", raw(array))
        write_entry(archive, f"{top}/version", b"3\n")


def write_entry(archive, name, data):
    """Store an entry whose data start at a multiple of 64 bytes, as PyTorch's do, so that they can be mapped."""
    info = zipfile.ZipInfo(name)
    info.file_size = len(data)
    # A local header has 30 bytes, the name, and extra fields: 4 bytes of head, then padding.
    padding = -(archive.fp.tell() + 30 + len(name.encode()) + 4) % 64
    info.extra = struct.pack("<HH", 0x4246, padding) + b"Z" * padding
    with archive.open(info, "w") as entry:
        entry.write(data)


def pickle(arrays):
    """The pickle of {name: tensor}, opcode by opcode: Python's own pickler would have to import torch."""
    ordered = b"ccollections\nOrderedDict\n)R"
    parts = [b"\x80\x02", ordered, b"("]
    for i, (name, array) in enumerate(arrays.items()):
        array = np.asarray(array)
        strides = [math.prod(array.shape[axis + 1:]) for axis in range(array.ndim)]
        parts += [
            text(name), b"ctorch._utils\n_rebuild_tensor_v2\n(",
            b"(", text("storage"), f"ctorch\n{TYPES[str(array.dtype)][1]}\n".encode(), text(str(i)), text("cpu"),
            integer(array.size), b"tQ",
            integer(0), b"(", *map(integer, array.shape), b"t", b"(", *map(integer, strides), b"t", b"\x89", ordered,
            b"tR",
        ]
    return b"".join([*parts, b"u."])


def text(string):
    data = string.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(number):
    if number < 2**31:
        return b"J" + struct.pack("<i", number)
    data = number.to_bytes(number.bit_length() // 8 + 1, "little")
    return b"\x8a" + bytes([len(data)]) + data


def published_traits(builder):
    """What torchvision's networks are made of, which nobody can choose there."""
    plain = builder.startswith(("alexnet", "vgg")) and not builder.endswith("_bn")
    return {"norm": "none" if plain else "batch", "activation": "silu" if builder.startswith("eff") else "relu"}


def to_torchvision(model):
    """A model's weights as torchvision's state dict, for `load_state_dict` of the model of the same name.

    Args:
        model: a model of a family that torchvision has: alexnet, vgg, resnet, resnext, wide_resnet, densenet,
            googlenet_bn, inception_v3, efficientnet_b*.

    Returns:
        {name: array}. torchvision's GoogLeNet and Inception-v3 have auxiliary heads unless told `aux_logits=False`,
        as the model must have been built.

    Raises:
        ValueError: if torchvision has no such network, or has it with another norm or activation.

    Example:
        >>> state = to_torchvision(kerazoo.resnet18())
        >>> state["conv1.weight"].shape
        (64, 3, 7, 7)
    """
    import keras

    origin = registry.origin(model)
    builder = origin and origin.name
    layout = next((each for each in find_layouts(builder or "", "pytorch") if each.source == "torchvision"), None)
    if layout is None:
        raise ValueError(f"torchvision has no network with the weights of {builder or model.name}." + (
            " Its EfficientNets pad symmetrically." if (builder or "").startswith(("tf_eff", "efficientnet_lite")) else
            ""))
    found = traits(model)
    for part, theirs in published_traits(builder).items():
        if found[part] not in (theirs, None):
            raise ValueError(f"torchvision's {builder} has {part}={theirs!r}, the model {part}={named(found[part])}. "
                             "Its weights would make another network there. Save them with kerazoo.save_weights.")
    slots = find_slots(model)
    names = layout.names(list(dict.fromkeys(slot.layer.name for slot in slots)))
    state = {}
    for slot in slots:
        name, ending = names.get(slot.layer.name), VARIABLES["pytorch"].get(slot.role)
        if name is None or ending is None:
            raise ValueError(f"torchvision's {builder} has no {slot.key}: the model was built with other parts.")
        name = name if isinstance(name, str) else name[0]
        # A copy: the model may go on training.
        value = np.array(keras.ops.convert_to_numpy(slot.variable))
        if slot.role == "kernel":
            flat = transforms.flattened(slot.layer) if value.ndim == 2 else None
            value = transforms.channels_first(value, slot.layer, flat)
        elif slot.role == "moving_variance" and (difference := slot.layer.epsilon - layout.epsilon):
            value = value + np.asarray(difference, value.dtype)
            if (value <= 0).any():
                raise ValueError(f"The variance of {slot.layer.name} is too small for torchvision's epsilon.")
        state[name + ending] = value
        if slot.role == "moving_variance":
            state[f"{name}.num_batches_tracked"] = np.zeros((), "int64")
    return state
