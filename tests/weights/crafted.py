"""Weight files written byte by byte, good ones and others, without PyTorch.

A tensor is (storage type, key, elements of the storage, offset, shape, strides), as PyTorch's pickles describe it.
"""
import json
import struct
import zipfile
import zlib

import h5py
import numpy as np

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(8, 16)).astype("f4")
BIAS = RNG.normal(size=(8,)).astype("f4")
GOOD = {"layer.weight": ("Float", "0", 128, 0, (8, 16), (16, 1)), "layer.bias": ("Float", "1", 8, 0, (8,), (1,))}
STORAGES = {"0": KERNEL.tobytes(), "1": BIAS.tobytes()}


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value):
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def integers(values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def call(module, attribute, arguments=b""):
    return name(module, attribute) + b"(" + arguments + b"tR"


def storage(kind, key, count):
    return b"(" + text("storage") + name("torch", f"{kind}Storage") + text(key) + text("cpu") + integer(count) + b"tQ"


def tensor(kind, key, count, offset, shape, strides, rest=b"\x89" + call("collections", "OrderedDict")):
    inside = storage(kind, key, count) + integer(offset) + integers(shape) + integers(strides) + rest
    return call("torch._utils", "_rebuild_tensor_v2", inside)


def mapping(items):
    """A dictionary of instructions that make the values."""
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def state(tensors):
    return mapping({key: tensor(*value) for key, value in tensors.items()})


def pickle(body):
    return b"\x80\x02" + body + b"."


def torch_zip(path, body=None, storages=None, folder="archive/", extra=(), method=zipfile.ZIP_STORED):
    """Write what torch.save writes; `extra` are more entries, (name, content)."""
    storages = STORAGES if storages is None else storages
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr(f"{folder}data.pkl", pickle(state(GOOD) if body is None else body))
        for key, content in storages.items():
            file.writestr(f"{folder}data/{key}", content)
        for entry, content in extra:
            file.writestr(entry, content)


def torch_legacy(path, body=None, storages=None, *, magic=None, system=None, keys=None):
    """Write what torch.save wrote before; the parts may be replaced -> the places where they end."""
    storages = STORAGES if storages is None else storages
    parts = [
        magic or pickle(integer(0x1950A86A20F9469CFC6C)), pickle(integer(1001)),
        pickle(system or mapping({"protocol_version": integer(1001), "little_endian": b"\x88"})),
        pickle(state(GOOD) if body is None else body), pickle(keys or b"](" + b"".join(map(text, storages)) + b"e"),
    ]
    parts += [struct.pack("<q", len(content) // 4) + content for content in storages.values()]
    path.write_bytes(b"".join(parts))
    return np.cumsum([len(part) for part in parts]).tolist()


def safetensors(path, header=None, data=None, length=None):
    """Write a header, as it is if it is bytes, and the data."""
    if header is None:
        header = {"layer.weight": entry((8, 16), 0, 512), "layer.bias": entry((8,), 512, 544)}
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    data = KERNEL.tobytes() + BIAS.tobytes() if data is None else data
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)


def entry(shape, begin, end, dtype="F32", **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


def keras_legacy(path):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"layer"]
        group = file.create_group("layer")
        group.attrs["weight_names"] = [b"layer/kernel:0", b"layer/bias:0"]
        group["layer/kernel:0"], group["layer/bias:0"] = KERNEL, BIAS


def keras3(path, change=None):
    """Write a .weights.h5; `change` gets the open file and the group of the variables."""
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "layer"
        group["0"], group["1"] = KERNEL, BIAS
        if change:
            change(file, group)


def zip_patch(path, change):
    """Change the bytes of a zip file: change(data, begin of its list of entries, begin of its end record)."""
    data = bytearray(path.read_bytes())
    last = data.rfind(b"PK\x05\x06")
    change(data, struct.unpack_from("<I", data, last + 16)[0], last)
    path.write_bytes(data)


def zeros_deflated(count, wrapper=15):
    """Compress so many zeros."""
    packer = zlib.compressobj(1, zlib.DEFLATED, wrapper)
    chunk = bytes(1 << 20)
    return b"".join(packer.compress(chunk) for _ in range(count >> 20)) + packer.flush()


WRITERS = {
    "safetensors": safetensors, "zip": torch_zip, "legacy": torch_legacy,
    "keras_legacy": keras_legacy, "keras3": keras3,
}
