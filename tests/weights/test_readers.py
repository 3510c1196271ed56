"""Weight files of all formats come out as the arrays that went in, in the file's order, without PyTorch or Keras."""
import argparse
import collections
import importlib.util
import os
import pathlib
import subprocess
import sys

import h5py
import ml_dtypes
import numpy as np
import pytest

from kerazoo.weights import readers

HERE = pathlib.Path(__file__).parent
DTYPES = ["float16", "bfloat16", "float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"]


@pytest.fixture(scope="module")
def crafted():
    spec = importlib.util.spec_from_file_location("crafted", HERE / "crafted.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch writes the files that are compared here")


def expect(arrays, tensors):
    """The arrays are those of a state dict: names, order, types, shapes, numbers."""
    assert list(arrays) == list(tensors)
    for name, tensor in tensors.items():
        array = arrays[name]
        assert str(array.dtype) == str(tensor.dtype).removeprefix("torch."), name
        assert array.shape == tuple(tensor.shape), name
        np.testing.assert_array_equal(array.astype("f8"), tensor.detach().double().numpy(), err_msg=name)
        assert array.flags.aligned


def sample(torch):
    torch.manual_seed(0)
    return collections.OrderedDict(
        [(dtype, (10 * torch.randn(3, 5)).to(getattr(torch, dtype))) for dtype in DTYPES]
        + [("scalar", torch.tensor(3.5)), ("empty", torch.zeros(0, 4)), ("last", torch.arange(7))]
    )


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_torch_state_dicts_are_read_without_torch(zipped, torch, tmp_path):
    torch.save(sample(torch), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    arrays = readers.read(tmp_path / "a.pth")
    expect(arrays, sample(torch))
    assert arrays.format == "pytorch" and arrays.metadata == {}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_views_parameters_and_shared_storages_are_read(zipped, protocol, torch, tmp_path):
    base = torch.randn(6, 8)
    tensors = {
        "transposed": base.t(), "part": base[2:4, 1::2], "same": base, "again": base, "wide": base[:, :1].expand(6, 8),
        "parameter": torch.nn.Parameter(torch.randn(3)), "buffer": torch.tensor(5),
    }
    torch.save(
        tensors, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped, pickle_protocol=protocol
    )
    expect(readers.read(tmp_path / "a.pth"), tensors)


@pytest.mark.parametrize("place", ["state_dict", "model", "net", "state_dict_ema", "model_ema"])
def test_the_weights_are_found_in_a_checkpoint(place, torch, tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    torch.save(
        {
            "epoch": 3, place: model.state_dict(), "optimizer": optimizer.state_dict(), "best": np.float64(0.5),
            "lr_scheduler": schedule.state_dict(), "args": argparse.Namespace(lr=0.1, device=torch.device("cpu")),
        },
        tmp_path / "a.pth",
    )
    expect(readers.read(tmp_path / "a.pth"), model.state_dict())


def test_plain_weights_go_before_averaged_ones(torch, tmp_path):
    torch.save(
        {"model_ema": {"a": torch.zeros(1)}, "state_dict_ema": {"b": torch.zeros(1)}, "model": {"c": torch.ones(1)}},
        tmp_path / "a.pth",
    )
    assert list(readers.read(tmp_path / "a.pth")) == ["c"]


def test_the_prefix_of_data_parallel_is_dropped_if_all_names_have_it(torch, tmp_path):
    torch.save({"module.a": torch.ones(1), "module.b": torch.ones(1)}, tmp_path / "a.pth")
    assert list(readers.read(tmp_path / "a.pth")) == ["a", "b"]
    torch.save({"_orig_mod.module.a": torch.ones(1), "_orig_mod.module.b": torch.ones(1)}, tmp_path / "a.pth")
    assert list(readers.read(tmp_path / "a.pth")) == ["a", "b"]
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "a.pth")
    assert list(readers.read(tmp_path / "a.pth")) == ["module.a", "b"]


def test_a_pickled_module_is_refused_in_words(torch, tmp_path):
    for zipped in (True, False):
        torch.save(torch.nn.Linear(3, 2), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(readers.WeightsError, match=r"holds a pickled module.*model\.state_dict\(\)"):
            readers.read(tmp_path / "a.pth")


def test_an_object_that_is_no_array_is_refused_by_name(torch, tmp_path):
    torch.save({"state_dict": {"a": torch.ones(1)}, "root": pathlib.PurePosixPath("x")}, tmp_path / "a.pth")
    with pytest.raises(readers.WeightsError, match=r"a\.pth is refused: it names 'pathlib.PurePosixPath'"):
        readers.read(tmp_path / "a.pth")


def test_a_bare_tensor_and_a_list_are_refused_in_words(torch, tmp_path):
    for value, words in ((torch.ones(3), "a bare tensor"), ([torch.ones(3)], "a list")):
        torch.save(value, tmp_path / "a.pth")
        with pytest.raises(readers.WeightsError, match=f"holds {words} and not"):
            readers.read(tmp_path / "a.pth")


def test_torch_files_without_checksums_are_read(torch, tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(sample(torch), tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    expect(readers.read(tmp_path / "a.pth"), sample(torch))


def test_torch_files_packed_anew_or_from_a_big_endian_machine_are_read(crafted, tmp_path):
    crafted.torch_zip(tmp_path / "a.pth", method=8)
    swapped = {key: np.frombuffer(raw, "<f4").byteswap().tobytes() for key, raw in crafted.STORAGES.items()}
    crafted.torch_zip(tmp_path / "b.pth", storages=swapped, extra=[("archive/byteorder", b"big")])
    for name in ("a.pth", "b.pth"):
        arrays = readers.read(tmp_path / name)
        np.testing.assert_array_equal(arrays["layer.weight"], crafted.KERNEL)
        np.testing.assert_array_equal(arrays["layer.bias"], crafted.BIAS)


@pytest.mark.parametrize("file", ["resnet18.pth", "efficientnet_lite0.pth"])
def test_published_files_are_read_as_torch_reads_them(file, torch):
    path = pathlib.Path(os.environ.get("KERAZOO_DEV_CACHE", "~/.cache/kerazoo-dev"), file).expanduser()
    if not path.exists():
        pytest.skip(f"{path} is not there")
    expect(readers.read(path), torch.load(path, map_location="cpu", weights_only=True))


def test_safetensors_files_of_the_library_are_read(torch, tmp_path):
    library = pytest.importorskip("safetensors.torch")
    tensors = sample(torch)
    library.save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt"})
    arrays = readers.read(tmp_path / "a.safetensors")
    expect({name: arrays[name] for name in tensors}, tensors)
    assert set(arrays) == set(tensors) and arrays.metadata == {"format": "pt"} and arrays.format == "safetensors"


def test_safetensors_arrays_are_views_in_the_order_of_the_header(crafted, tmp_path):
    header = {"b": crafted.entry((8,), 512, 544), "a": crafted.entry((8, 16), 0, 512)}
    crafted.safetensors(tmp_path / "x", header)
    arrays = readers.read(tmp_path / "x")
    assert list(arrays) == ["b", "a"]
    np.testing.assert_array_equal(arrays["a"], crafted.KERNEL)
    np.testing.assert_array_equal(arrays["b"], crafted.BIAS)
    # Reading costs nothing before an array is used.
    assert all(not array.flags.owndata and not array.flags.writeable for array in aligned(crafted, tmp_path).values())


def aligned(crafted, tmp_path):
    import json
    raw = json.dumps({"a": crafted.entry((8, 16), 0, 512)}).encode()
    crafted.safetensors(tmp_path / "y", raw + b" " * (-len(raw) % 8), crafted.KERNEL.tobytes())
    return readers.read(tmp_path / "y")


def test_keras_3_weights_go_by_the_names_of_the_layers(tmp_path):
    import keras

    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="deep")], name="inner")
    layers = [keras.layers.Dense(4, name=f"dense_{index}") for index in range(12)]
    model = keras.Sequential([keras.Input((5,)), *layers, inner, keras.layers.BatchNormalization(name="norm")])
    model.compile("adam", "mse")
    model.save_weights(tmp_path / "a.weights.h5")
    arrays = readers.read(tmp_path / "a.weights.h5")
    expected = {}
    for layer in (*layers, model.get_layer("norm")):
        expected |= {f"{layer.name}/{index}": value for index, value in enumerate(layer.get_weights())}
    expected |= {f"inner/deep/{index}": value for index, value in enumerate(inner.get_weights())}
    assert set(arrays) == set(expected) and arrays.format == "keras"
    for name, value in expected.items():
        np.testing.assert_array_equal(arrays[name], value)


def test_keras_legacy_weights_and_whole_models_go_by_layer_and_variable(tmp_path):
    import keras

    model = keras.Sequential([
        keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv1"), keras.layers.BatchNormalization(name="bn"),
    ])
    # Variables of a Sequential go by its name too: sequential/conv1/kernel.
    values = {"/".join(variable.path.split("/")[-2:]): variable.numpy() for variable in model.variables}
    model.save(tmp_path / "whole.h5")
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "weights.h5", "w") as weights:
        for name in whole["model_weights"]:
            whole.copy(f"model_weights/{name}", weights)
        # As Keras does where the list of names is long.
        weights.attrs["layer_names0"], weights.attrs["layer_names1"] = [b"conv1"], [b"bn"]
    for file in ("whole.h5", "weights.h5"):
        arrays = readers.read(tmp_path / file)
        assert set(arrays) == set(values)
        for name, value in values.items():
            np.testing.assert_array_equal(arrays[name], value)


def test_the_zero_of_tensorflow_names_and_the_repeated_name_of_the_layer_are_dropped(crafted, tmp_path):
    crafted.keras_legacy(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["outer/block/outer/block/gamma:0"] = file["older/older_W_1:0"] = np.ones(3)
    names = {"layer/kernel", "layer/bias", "outer/block/gamma", "older/older_W_1"}
    assert set(readers.read(tmp_path / "a.h5")) == names


def test_keras_bfloat16_compressed_and_big_endian_data_sets_are_read(crafted, tmp_path):
    values = np.arange(2000, dtype="f4")

    def change(file, group):
        group.create_dataset("2", data=values.astype(ml_dtypes.bfloat16)).attrs["dtype"] = "bfloat16"
        group.create_dataset("3", data=values, chunks=(300,), compression="gzip", shuffle=True, fletcher32=True)
        group.create_dataset("4", data=values.astype(">f4"))
        group["5"] = np.array([True, False])

    crafted.keras3(tmp_path / "a.h5", change)
    arrays = readers.read(tmp_path / "a.h5")
    assert list(arrays) == [f"layer/{index}" for index in range(6)]
    assert arrays["layer/2"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(arrays["layer/2"], values.astype(ml_dtypes.bfloat16))
    for name in ("layer/3", "layer/4"):
        assert arrays[name].dtype == np.dtype("f4") and arrays[name].dtype.isnative
        np.testing.assert_array_equal(arrays[name], values)
    assert arrays["layer/5"].tolist() == [True, False]


@pytest.mark.parametrize("version", ["earliest", "v108", "latest"])
def test_keras_files_of_older_and_newer_hdf5_are_read(version, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", libver=version) as file:
        for index in range(20):
            group = file.create_group(f"layers/dense_{index}/vars")
            group.attrs["name"] = f"größe_{index}" if index else b"fixed"
            group["0"] = np.full(3, index, "f4")
    arrays = readers.read(tmp_path / "a.h5")
    assert set(arrays) == {"fixed/0", *(f"größe_{index}/0" for index in range(1, 20))}
    assert arrays["größe_7/0"].tolist() == [7, 7, 7]


def test_the_format_is_told_by_the_content(crafted, tmp_path):
    for kind, write in crafted.WRITERS.items():
        write(tmp_path / "weights.bin")
        assert len(readers.read(tmp_path / "weights.bin")) == 2, kind


def test_what_cannot_be_opened_is_said_plainly(tmp_path):
    with pytest.raises(FileNotFoundError, match="^There is no weight file .*nothing.pth.$"):
        readers.read(tmp_path / "nothing.pth")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        readers.read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(readers.WeightsError, match="not a regular file"):
        readers.read(tmp_path / "pipe")
    with pytest.raises(readers.WeightsError, match="cannot be opened"):
        readers.read("a\0b")


def test_readers_need_neither_torch_nor_keras(crafted, tmp_path):
    for kind, write in crafted.WRITERS.items():
        write(tmp_path / kind)
    code = (
        "import sys; sys.modules.update(torch=None, keras=None, tensorflow=None, safetensors=None)\n"
        "from kerazoo.weights import readers\n"
        "for path in sys.argv[1:]: assert len(readers.read(path)) == 2"
    )
    files = [tmp_path / kind for kind in crafted.WRITERS]
    subprocess.run([sys.executable, "-c", code, *files], check=True, timeout=600)
