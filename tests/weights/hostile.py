"""Files that must not load: CASES maps what each of them is to a function that writes it to a path."""
import json
import pathlib
import random
import struct
import sys
import tempfile
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import crafted as c  # noqa: E402
import h5py  # noqa: E402
import numpy as np  # noqa: E402

CASES = {}
CANARY = "canary"
TOUCH = f"open({CANARY!r}, 'w').close()"


def case(name):
    def add(write):
        assert name not in CASES, name
        CASES[name] = write
        return write
    return add


def add(name, write, *arguments, **options):
    case(name)(lambda path: write(path, *arguments, **options))


def text(value):
    return c.text(value)


# Pickles that call. Each would leave a file called "canary" if it ran.
SYSTEM = c.call("posix", "system", text(f"touch {CANARY}"))
CALLS = {
    "os.system": c.call("os", "system", text(f"touch {CANARY}")),
    "posix.system": SYSTEM,
    "builtins.eval": c.call("builtins", "eval", text(TOUCH)),
    "builtins.exec": c.call("builtins", "exec", text(TOUCH)),
    "__builtin__.eval of Python 2": c.call("__builtin__", "eval", text(TOUCH)),
    "builtins.open": c.call("builtins", "open", text(CANARY) + text("w")),
    "builtins.getattr": c.call("builtins", "getattr", c.name("os", "sep") + text("join")),
    "subprocess.Popen": c.call("subprocess", "Popen", b"](" + text("touch") + text(CANARY) + b"e"),
    "shutil.rmtree": c.call("shutil", "rmtree", text("folder")),
    "importlib.import_module": c.call("importlib", "import_module", text("antigravity")),
    "torch.hub.load": c.call("torch.hub", "load", text("someone/something") + text("model")),
    "torch.load": c.call("torch", "load", text("other.pth")),
    "torch.storage._load_from_bytes": c.call("torch.storage", "_load_from_bytes", b"C\x02\x80\x02"),
    "an attribute of an attribute": text("torch._utils") + text("_rebuild_tensor_v2.__globals__") + b"\x93",
    "a name from the stack": text("os") + text("system") + b"\x93(" + text(f"touch {CANARY}") + b"tR",
    "a call of what a call returned": c.call("operator", "attrgetter", text("system")) + b"(" + c.name("os", "sep")
                                      + b"tR",
    "a call of what an allowed call returned": c.call("numpy", "dtype", text("f4")) + b"(tR",
    "a call of a storage class": c.name("torch", "FloatStorage") + b"(" + c.integer(1 << 40) + b"tR",
    "a call of a string": text("os.system") + b"(" + text("touch") + b"tR",
    "the INST instruction": f"(X\x05\0\0\0touchi{'os'}\nsystem\n".encode(),
    "the OBJ instruction": b"(" + c.name("os", "system") + text("touch") + b"o",
    "the NEWOBJ instruction": c.name("os", "system") + b"(" + text("touch") + b"t\x81",
    "the NEWOBJ_EX instruction": c.name("collections", "OrderedDict") + b")}\x92",
    "the EXT1 instruction": b"\x82\x01",
    "a PERSID line": b"Pstorage\n",
    "BUILD of a name": c.name("torch._utils", "_rebuild_tensor_v2") + b"}(" + text("__code__") + b"NubN0",
    "numpy's object arrays": c.call("numpy.core.multiarray", "_reconstruct", c.name("numpy", "ndarray")),
    "a tensor class with code": c.call("torch._tensor", "_rebuild_from_type_v2", c.name("os", "system")),
    "a function of torch that reads files": c.call("torch", "from_file", text("/etc/passwd")),
    "a lambda's code": c.call("types", "CodeType", c.integer(0)),
    "wrong arguments": c.call("torch._utils", "_rebuild_tensor_v2", c.integer(1)),
    "a dictionary made of a number": c.call("collections", "OrderedDict", c.integer(7)),
    "a pickled module's persistent id": b"(" + text("module") + c.name("torch", "Size") + text("x.py") + text(TOUCH)
                                        + b"tQ",
    "a whole pickled module": c.name("torchvision.models.resnet", "ResNet") + b")\x81}(" + text("_parameters") + b"}"
                              + text("_modules") + b"}ub",
    "a storage that is a part of another": b"(" + text("storage") + c.name("torch", "FloatStorage") + text("0")
                                           + text("cpu") + c.integer(8) + b"(" + text("9") + b"K\0K\x08ttQ",
    "a storage of an unknown type": c.storage("Quantized", "0", 128),
    "a storage of a negative size": c.storage("Float", "0", -1),
    "a persistent id that is no storage": text("storage") + b"Q",
}
for name, body in CALLS.items():
    add(f"pickle: {name}", c.torch_zip, c.pickle(c.mapping({"layer.weight": body})))
add("legacy: os.system in the object", c.torch_legacy, c.pickle(c.mapping({"layer.weight": SYSTEM})))
add("legacy: os.system in the system's description", c.torch_legacy, system=SYSTEM)
add("legacy: os.system in the list of storages", c.torch_legacy, keys=SYSTEM)
add("legacy: another version", c.torch_legacy, system=c.mapping({"little_endian": b"\x89"}))
add("legacy: a storage that no tensor names", c.torch_legacy, storages={**c.STORAGES, "2": b"1234"})
add("legacy: bytes behind the end", c.torch_legacy, storages={"0": c.KERNEL.tobytes(), "1": c.BIAS.tobytes() + b"1234"})

# Pickles that ask for time or memory.
DOUBLED = c.integer(1) + b"".join(b"q%c" % n + b"h%c" % n + b"\x86" for n in range(200))
BOMBS = {
    "tuples doubled 200 times": b"}(" + text("a") + DOUBLED + b"u",
    "tuples doubled 200 times as a key": b"}(" + DOUBLED + text("a") + b"u",
    "tuples doubled 200 times as a shape": c.mapping({"a": c.call(
        "torch._utils", "_rebuild_tensor_v2",
        c.storage("Float", "0", 128) + b"K\0(" + DOUBLED + b"t" + b"(K\x01t" + b"\x89N")}),
    "tuples doubled 200 times as a storage key": b"(" + text("storage") + c.name("torch", "FloatStorage") + DOUBLED
                                                 + text("cpu") + b"K\x08tQ",
    "lists in themselves": b"]q\0h\0a",
    "a million keys": b"}(" + b"".join(b"X\7\0\0\0%07dN" % n for n in range(1_000_000)) + b"u",
    "a million keys, nested": b"}(" + b"X\1\0\0\0aN" * 400_000 + b"u" + b"X\1\0\0\0b}(" * 400_000,
    "a million marks": b"(" * 1_500_000,
    "900,000 nested lists": b"]" * 450_000 + b"a" * 449_999,
    "a million memos": b"N" + b"".join(b"r" + struct.pack("<I", n) for n in range(999_990)),
    "a memo at index four billion": b"]r\xff\xff\xff\xff",
    "17 MB of numbers": b"](" + b"K\1" * (17 << 19) + b"e",
    "a string of 4 GB": b"X\xff\xff\xff\xff",
    "a string of 2**63 bytes": b"\x8d" + struct.pack("<Q", 1 << 63),
    "bytes of 2**62": b"\x8e" + struct.pack("<Q", 1 << 62),
    "a bytearray of 2**62": b"\x96" + struct.pack("<Q", 1 << 62),
    "an integer of 2 GB": b"\x8b" + struct.pack("<i", (1 << 31) - 1),
    "a negative length": b"\x8b\xff\xff\xff\xff",
    "an integer of 10,000 digits": b"I" + b"9" * 10_000 + b"\n",
    "one long list in ten thousand calls": b"](" + (text("a") + b"N\x86") * 5000 + b"eq\0(" + (
        c.name("collections", "OrderedDict") + b"h\0\x85R") * 10_000 + b"e",
    "a name without an end": b"c" + b"a" * 1_000_000,
    "no end": c.state(c.GOOD)[:-1],
    "values that are not there": b"\x87",
    "a mark that is not there": b"t",
    "a memo that is not there": b"h\x09",
    "letters that are not UTF-8": text(b"\xff\xfe"),
    "a name that is a number": b"K\1K\2\x93",
    "items of a list": b"](" + text("a") + b"Nu",
    "an odd number of items": b"}(" + text("a") + b"u",
}
for name, body in BOMBS.items():
    add(f"pickle: {name}", c.torch_zip, c.pickle(body))
add("pickle: empty", c.torch_zip, b"")
add("pickle: a bare tensor", c.torch_zip, c.pickle(c.tensor(*c.GOOD["layer.weight"])))
add("pickle: a list of tensors", c.torch_zip, c.pickle(b"]" + c.tensor(*c.GOOD["layer.weight"]) + b"a"))
add("pickle: a number", c.torch_zip, c.pickle(b"K\1"))
add("pickle: a checkpoint without weights", c.torch_zip, c.pickle(c.mapping({"epoch": b"K\3", "optimizer": b"}"})))
add("pickle: a name with a line end", c.torch_zip, c.pickle(c.state({"a\nb": c.GOOD["layer.weight"]})))

# Tensors that reach out of their storage.
for name, values in {
    "a negative offset": (128, -1, (8,), (1,)), "an offset behind the end": (128, 128, (1,), (1,)),
    "a negative stride": (128, 64, (8,), (-1,)), "a stride behind the end": (128, 0, (8, 16), (17, 1)),
    "stride 0 and a billion elements": (128, 0, (10**9,), (0,)), "a negative size": (128, 0, (-8, 16), (16, 1)),
    "2**62 elements": (128, 0, (1 << 31, 1 << 31), (0, 0)), "sizes that overflow": (128, 0, (1 << 32, 1 << 32), (0, 0)),
    "an offset that overflows": (128, (1 << 63) - 4, (8,), (1,)), "a stride that overflows": (128, 0, (3,), (1 << 62,)),
    "1000 axes": (128, 0, (1,) * 1000, (1,) * 1000), "fewer strides than axes": (128, 0, (8, 16), (1,)),
    "empty with an axis of 2**62": (128, 0, (0, 1 << 62), (1, 1)), "a storage of another size": (127, 0, (8,), (1,)),
    "a storage of a billion elements": (10**9, 0, (10**9,), (1,)),
}.items():
    add(f"tensor: {name}", c.torch_zip, c.pickle(c.state({"a": ("Float", "0", *values)})))
add("tensor: a storage of two types", c.torch_zip, c.pickle(c.state(
    {"a": c.GOOD["layer.weight"], "b": ("Double", "0", 64, 0, (64,), (1,))})))
add("tensor: a storage that is not there", c.torch_zip, storages={"0": c.STORAGES["0"]})
add("tensor: a storage outside of the folder", c.torch_zip, c.pickle(c.state(
    {"a": ("Float", "../../../../../../etc/passwd", 8, 0, (8,), (1,))})))
add("tensor: ten thousand names for one storage", c.torch_zip, c.pickle(c.mapping(
    {"first": c.tensor("Float", "0", 100_000, 0, (100_000,), (1,)) + b"q\1",
     **{f"n{n}": b"h\1" for n in range(10_000)}})), {"0": bytes(400_000)})
add("tensor: conjugated", c.torch_zip, c.pickle(c.mapping(
    {"a": c.tensor(*c.GOOD["layer.bias"], b"\x89N}(" + text("neg") + b"\x88u")})))
add("tensor: booleans that are neither", c.torch_zip, c.pickle(c.state({"a": ("Bool", "0", 512, 0, (512,), (1,))})))


# Zip files.
@case("zip: tensor of 256 MB of zeros in 256 KB")
def _(path):
    c.torch_zip(path, c.pickle(c.state({"a": ("Float", "0", 1 << 26, 0, (1 << 26,), (1,))})), {})
    add_deflated(path, "archive/data/0", 256 << 20, 256 << 20)


@case("zip: 256 MB of zeros said to be 512 bytes")
def _(path):
    c.torch_zip(path, storages={"1": c.STORAGES["1"]})
    add_deflated(path, "archive/data/0", 256 << 20, 512)


@case("zip: a pickle of 256 MB")
def _(path):
    c.torch_zip(path, folder="other/")
    with zipfile.ZipFile(path, "w"):
        pass
    add_deflated(path, "archive/data.pkl", 256 << 20, 256 << 20)


def add_deflated(path, name, count, stated):
    """Append zeros compressed, and state their number in the list of entries."""
    packed = c.zeros_deflated(count, -15)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, packed)

    def change(data, begin, last):
        place = data.rfind(name.encode()) - 46
        struct.pack_into("<H4xIII", data, place + 10, 8, 0, len(packed), stated)
    c.zip_patch(path, change)


def patched(layout, place, *values, end=False, **options):
    def write(path):
        c.torch_zip(path, **options)
        c.zip_patch(path, lambda data, begin, last: struct.pack_into(
            layout, data, (last if end else begin) + place, *values))
    return write


for name, write in {
    "encrypted": patched("<H", 8, 1), "an unknown method": patched("<H", 10, 99),
    "a wrong checksum": patched("<I", 16, 12345), "an entry larger than the file": patched("<II", 20, 1 << 30, 1 << 30),
    "an entry behind the end": patched("<I", 42, 1 << 31), "an entry where another is": patched("<I", 42, 600),
    "65,000 entries in its end": patched("<HH", 8, 65000, 65000, end=True),
    "a list of entries behind the end": patched("<II", 12, 1 << 30, 1 << 30, end=True),
    "a list that is too short": patched("<I", 12, 60, end=True),
}.items():
    case(f"zip: {name}")(write)


@case("zip: two entries that overlap")
def _(path):
    c.torch_zip(path)

    def change(data, begin, last):
        # The first entry is made to reach into the second, without a checksum.
        size, = struct.unpack_from("<I", data, begin + 20)
        struct.pack_into("<III", data, begin + 16, 0, size + 100, size + 100)
    c.zip_patch(path, change)


@case("zip: one entry under two names")
def _(path):
    c.torch_zip(path, storages={"0": c.STORAGES["0"], "1": c.STORAGES["1"], "2": b"x"})

    def change(data, begin, last):
        second, third = (data.rfind(f"archive/data/{key}".encode()) - 46 for key in "12")
        data[third + 42:third + 46] = data[second + 42:second + 46]
    c.zip_patch(path, change)


add("zip: an entry twice", c.torch_zip, extra=[("archive/data/1", b"other")])
add("zip: a path that climbs out", c.torch_zip, extra=[("archive/../../canary", b"x")])
add("zip: an absolute path", c.torch_zip, extra=[("/tmp/canary", b"x")])
add("zip: a path of Windows", c.torch_zip, extra=[("archive\\..\\canary", b"x")])
add("zip: a folder that climbs out", c.torch_zip, folder="../")
add("zip: two pickles", c.torch_zip, extra=[("other/data.pkl", c.pickle(c.state(c.GOOD)))])
add("zip: 21,000 entries", c.torch_zip, extra=[(f"archive/extra/{n}", b"") for n in range(21_000)])
add("zip: TorchScript", c.torch_zip, extra=[("archive/constants.pkl", b"x"), ("archive/code/a.py", TOUCH)])
add("zip: an odd byte order", c.torch_zip, extra=[("archive/byteorder", b"middle")])
add("zip: a .keras file", c.torch_zip, extra=[("config.json", "{}"), ("metadata.json", "{}")])


@case("zip: NumPy's .npz")
def _(path):
    with path.open("wb") as file:
        np.savez(file, layer=c.KERNEL)


@case("zip: empty")
def _(path):
    with zipfile.ZipFile(path, "w"):
        pass


# safetensors.
def header(name, value=None, data=None, **options):
    add(f"safetensors: {name}", c.safetensors, value, data, **options)


W = c.entry((8, 16), 0, 512)
header("a header of 2 GB", length=1 << 31)
header("a header of 2**63 bytes", length=1 << 63)
header("a header longer than the file", length=10_000)
header("no header", b"", length=0)
header("a header that is a list", b"[1, 2]")
header("a header that is no JSON", b"{'layer': 1}")
header("a header that is not UTF-8", b'{"\xff": 1}')
header("100,000 nested lists", b'{"a":' + b"[" * 100_000)
header("a header of 4 MB of brackets", b'{"a":[' + b"[]," * 1_390_000 + b"[]]}")
header("a header of 5 MB", b"{" + b" " * (5 << 20) + b"}")
header("a number of 100,000 digits", b'{"a":' + b"9" * 100_000 + b"}")
header("NaN", b'{"a": NaN}')
header("a name twice", b'{"a":%b,"a":%b}' % ((json.dumps(W).encode(),) * 2))
header("a name with a lone surrogate", b'{"\\ud800":%b}' % json.dumps(W).encode(), c.KERNEL.tobytes())
header("a name with a terminal's codes", {"\x1b[31m": W}, c.KERNEL.tobytes())
header("metadata of numbers", {"__metadata__": {"a": 1}, "a": W}, c.KERNEL.tobytes())
header("metadata that is a list", {"__metadata__": ["a"], "a": W}, c.KERNEL.tobytes())
header("bytes that belong to nothing", {"a": W})
for name, value in {
    "a number for a tensor": 7, "no shape": {"dtype": "F32", "data_offsets": [0, 512]},
    "one key more": {**W, "code": "x"},
    "an unknown type": c.entry((8, 16), 0, 512, "F31"), "a type of 4 bits": c.entry((8, 16), 0, 64, "F4"),
    "a type that is a list": c.entry((8, 16), 0, 512, ["F32"]),
    "a type of another size": c.entry((8, 16), 0, 512, "F64"),
    "a negative offset": c.entry((8, 16), -512, 0), "offsets turned round": c.entry((8, 16), 512, 0),
    "three offsets": {**W, "data_offsets": [0, 512, 512]},
    "offsets that are strings": {**W, "data_offsets": ["0", "512"]},
    "an end behind the file": c.entry((8, 32), 0, 1024), "an end at 2**63": c.entry((8, 16), 0, 1 << 63),
    "a negative size": c.entry((-8, -16), 0, 512), "sizes with a point": c.entry((8.0, 16), 0, 512),
    "a boolean size": c.entry((True, 128), 0, 512), "sizes whose product overflows": c.entry((1 << 32, 1 << 32), 0, 0),
    "a shape of 100,000 axes": c.entry((1,) * 100_000, 0, 4), "a billion elements": c.entry((10**9,), 0, 4 * 10**9),
    "empty with an axis of 2**62": c.entry((0, 1 << 62), 0, 0), "a shape that is a string": {**W, "shape": "8"},
}.items():
    header(name, {"a": value}, c.KERNEL.tobytes())
header("tensors that overlap", {"a": W, "b": c.entry((8,), 496, 528)}, bytes(528))
header("a tensor inside another", {"a": W, "b": c.entry((8,), 0, 32)}, bytes(512))
header("a gap between tensors", {"a": W, "b": c.entry((8,), 516, 548)}, bytes(548))
header("a gap before the first", {"a": c.entry((8, 16), 4, 516)}, bytes(516))
header("booleans that are neither", {"a": c.entry((512,), 0, 512, "BOOL")}, c.KERNEL.tobytes())


# Keras.
def keras(name):
    def add(change):
        case(f"h5: {name}")(lambda path: c.keras3(path, lambda file, group: change(file, group, path)))
        return change
    return add


def other_file(path):
    other = path.with_name("secret.h5")
    if not other.exists():
        c.keras3(other)
    return str(other)


KERAS = {
    "an external link": lambda f, g, p: g.__setitem__("2", h5py.ExternalLink(other_file(p), "/layers/dense/vars/0")),
    "an external link at the top": lambda f, g, p: f.__setitem__("a", h5py.ExternalLink(other_file(p), "/")),
    "an external link for a whole model": lambda f, g, p: f.__setitem__(
        "model_weights", h5py.ExternalLink(other_file(p), "/")),
    "a soft link": lambda f, g, p: g.__setitem__("2", h5py.SoftLink("/layers/dense/vars/0")),
    "a soft link to nowhere": lambda f, g, p: g.__setitem__("2", h5py.SoftLink("/nowhere")),
    "external storage": lambda f, g, p: g.create_dataset(
        "2", (8,), "f4", external=[("/etc/passwd", 0, 32)]),
    "1 TB that is not there": lambda f, g, p: g.create_dataset("2", (1 << 38,), "f4"),
    "32 TB of one value": lambda f, g, p: g.create_dataset(
        "2", (1 << 20, 1 << 23), "f4", chunks=(1, 1 << 20), fillvalue=1),
    "4 KB that are not there": lambda f, g, p: g.create_dataset("2", (1000,), "f4"),
    "256 MB of zeros in 256 KB": lambda f, g, p: g.create_dataset(
        "2", data=np.zeros(1 << 26, "f4"), chunks=(1 << 20,), compression=1),
    "a million chunks": lambda f, g, p: g.create_dataset("2", (1_000_000,), "i1", chunks=(1,)),
    "a chunk of 1 GB": lambda f, g, p: g.create_dataset("2", (1,), "f4", chunks=(1 << 28,), maxshape=(None,)),
    "the lzf filter": lambda f, g, p: g.create_dataset("2", data=c.KERNEL, compression="lzf"),
    "the scale-offset filter": lambda f, g, p: g.create_dataset("2", data=c.KERNEL, chunks=(8, 16), scaleoffset=3),
    "strings": lambda f, g, p: g.__setitem__("2", ["a", "b"]),
    "fixed strings": lambda f, g, p: g.__setitem__("2", np.array([b"abc"])),
    "references": lambda f, g, p: g.create_dataset("2", data=np.array([g.ref], dtype=h5py.ref_dtype)),
    "records": lambda f, g, p: g.__setitem__("2", np.zeros(3, [("a", "f4"), ("b", "i4")])),
    "opaque bytes": lambda f, g, p: g.__setitem__("2", np.zeros(3, "V7")),
    "complex numbers": lambda f, g, p: g.__setitem__("2", np.zeros(3, "c8")),
    "lists of lists": lambda f, g, p: g.create_dataset("2", (3,), h5py.vlen_dtype("f4")),
    "nothing at all": lambda f, g, p: g.create_dataset("2", data=h5py.Empty("f4")),
    "a named type": lambda f, g, p: g.__setitem__("2", np.dtype("f4")),
    "a group in itself": lambda f, g, p: g.__setitem__("a", g),
    "the file in a group": lambda f, g, p: g.__setitem__("a", f["/"]),
    "groups 1000 deep": lambda f, g, p: f.create_group("/".join(["a"] * 1000)),
    "21,000 groups": lambda f, g, p: [g.create_group(str(n)) for n in range(10, 21_010)],
    "a name of 1 MB": lambda f, g, p: g.attrs.__setitem__("name", "a" * (1 << 20)),
    "a name that is a number": lambda f, g, p: g.attrs.__setitem__("name", 7),
    "a list of names": lambda f, g, p: g.attrs.__setitem__("name", ["a", "b"]),
    "a name that is an empty list": lambda f, g, p: g.attrs.__setitem__("name", h5py.Empty("S3")),
    "two layers of one name": lambda f, g, p: f.copy("layers/dense", "layers/other"),
    "a name with a line end": lambda f, g, p: g.attrs.__setitem__("name", "a\nb"),
}
for name, change in KERAS.items():
    keras(name)(change)


@keras("a virtual data set")
def _(file, group, path):
    layout = h5py.VirtualLayout((8, 16), "f4")
    layout[:] = h5py.VirtualSource(other_file(path), "layers/dense/vars/0", (8, 16))
    group.create_virtual_dataset("2", layout)


@keras("a chunk that unpacks to 256 MB")
def _(file, group, path):
    item = group.create_dataset("2", (1024,), "f4", chunks=(1024,), compression=1)
    item.id.write_direct_chunk((0,), c.zeros_deflated(256 << 20))


@keras("a filter from a shared library")
def _(file, group, path):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((8,))
    properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (1,))
    h5py.h5d.create(group.id, b"2", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((8,)), properties)


@case("h5: no weights of Keras")
def _(path):
    with h5py.File(path, "w") as file:
        file["images"] = c.KERNEL


@case("h5: a name of 4 GB")
def _(path):
    c.keras3(path)
    data = bytearray(path.read_bytes())
    # A string is kept as its length, the heap's address and a number in it.
    place = data.find(struct.pack("<IQI", 5, data.find(b"GCOL"), 1))
    data[place:place + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)


@case("h5: a heap that goes round in circles")
def _(path):
    c.keras3(path)
    data = bytearray(path.read_bytes())
    heap = data.find(b"GCOL")
    data[heap + 16:heap + 32] = bytes(16)
    path.write_bytes(data)


# No weights at all.
for name, content in {
    "empty": b"", "one byte": b"\x80", "a web page": b"<!DOCTYPE html><html><body>Not found</body></html>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "zeros": bytes(10_000),
    "random bytes": random.Random(0).randbytes(10_000), "a pickle that is not PyTorch's": c.pickle(SYSTEM),
    "a pickle of protocol 0": f"cposix\nsystem\n(S'touch {CANARY}'\ntR.".encode(),
    "a tar archive": b"sys_info".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0"),
    "a zip's first bytes": b"PK\x03\x04", "HDF5's first bytes": b"\x89HDF\r\n\x1a\n", "a GIF": b"GIF89a" + bytes(100),
}.items():
    case(f"other: {name}")(lambda path, content=content: path.write_bytes(content))


# Cut off, at each place where something ends, a byte before and a byte behind it.
def boundaries(kind, path):
    data = path.read_bytes()
    if kind == "safetensors":
        end = 8 + int.from_bytes(data[:8], "little")
        places = [8, end, end + 512, len(data)]
    elif kind == "zip":
        with zipfile.ZipFile(path) as file:
            entries = [(entry.header_offset + 30 + len(entry.filename), entry.file_size) for entry in file.infolist()]
        last = data.rfind(b"PK\x05\x06")
        begin = struct.unpack_from("<I", data, last + 16)[0]
        places = [place for start, size in entries for place in (start, start + size)] + [begin, last, len(data)]
    elif kind == "legacy":
        places = c.torch_legacy(path)
    else:
        places = [8, 24, 56, 96, 800, 2048, len(data) // 2, len(data) - 40, len(data)]
    return sorted({place + step for place in places for step in (-1, 0, 1) if 0 < place + step < len(data)})


def cut(kind, path, place):
    c.WRITERS[kind](path)
    path.write_bytes(path.read_bytes()[:place])


def add_cuts():
    with tempfile.TemporaryDirectory() as folder:
        for kind, write in c.WRITERS.items():
            path = pathlib.Path(folder, kind)
            write(path)
            for place in boundaries(kind, path):
                case(f"cut: {kind} after {place} bytes")(lambda path, kind=kind, place=place: cut(kind, path, place))


add_cuts()
