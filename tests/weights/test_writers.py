"""Files for other libraries, written without them."""
import json
import os
import pickletools
import resource
import subprocess
import sys
import time
import zipfile

import keras
import ml_dtypes
import numpy as np
import pytest

import kerazoo
from kerazoo.weights import writers
from kerazoo.weights.convert import convert
from kerazoo.weights.readers import read
from kerazoo.weights.writers import to_torchvision, write_pytorch, write_safetensors

ARRAYS = {
    "a": np.arange(5, dtype="float32"), "b.c": np.ones((2, 3), "float64"), "d": np.zeros((), "int64"),
    "e": np.arange(6, dtype="float16").reshape(1, 2, 3), "f": np.array([1.5, -2], ml_dtypes.bfloat16),
    "empty": np.zeros((0, 4), "float32"), "long" * 40: np.ones(1, "float32"),
}


def resnet(**options):
    return kerazoo.resnet18(**{"input_shape": (32, 32, 3), "classes": 3, **options})


def small(name, **options):
    return kerazoo.create_model(name, include_top=False, input_shape=(64, 64, 3), **options)


@pytest.mark.parametrize(("write", "ending"), [(write_safetensors, "safetensors"), (write_pytorch, "pth")])
def test_what_is_written_is_read(write, ending, tmp_path):
    write(tmp_path / f"file.{ending}", ARRAYS)
    found = read(tmp_path / f"file.{ending}")
    assert set(found) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_safetensors_itself_reads_them(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="it is not installed: pip install safetensors")
    arrays = {name: array for name, array in ARRAYS.items() if name != "f"}
    write_safetensors(tmp_path / "file.safetensors", arrays, {"who": "we"})
    found = safetensors.load_file(tmp_path / "file.safetensors")
    for name, array in arrays.items():
        assert np.array_equal(found[name], array) and found[name].dtype == array.dtype
    from safetensors import safe_open

    with safe_open(tmp_path / "file.safetensors", "numpy") as file:
        assert file.metadata() == {"who": "we"}


def test_pytorch_itself_reads_them_safely(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    write_pytorch(tmp_path / "file.pth", ARRAYS)
    for options in ({}, {"mmap": True}):
        found = torch.load(tmp_path / "file.pth", weights_only=True, **options)
        assert list(found) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert tuple(found[name].shape) == array.shape and found[name].is_contiguous()
            np.testing.assert_array_equal(found[name].to(torch.float64).numpy(), array.astype("float64"))


def test_every_array_starts_where_it_can_be_mapped(tmp_path):
    write_safetensors(tmp_path / "file.safetensors", ARRAYS)
    data = (tmp_path / "file.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    found = read(tmp_path / "file.safetensors")
    base = min(array.__array_interface__["data"][0] for array in found.values() if array.size)
    assert start % 8 == 0
    assert all((array.__array_interface__["data"][0] - base) % array.itemsize == 0 for array in found.values())
    write_pytorch(tmp_path / "file.pth", ARRAYS)
    with zipfile.ZipFile(tmp_path / "file.pth") as archive, open(tmp_path / "file.pth", "rb") as file:
        assert archive.testzip() is None
        for info in archive.infolist():
            file.seek(info.header_offset + 26)
            name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
            assert info.compress_type == zipfile.ZIP_STORED and (info.header_offset + 30 + name + extra) % 64 == 0


def test_the_pickle_names_nothing_but_tensors():
    opcodes = [(code.name, argument) for code, argument, _ in pickletools.genops(writers.pickle(ARRAYS))]
    assert {argument for name, argument in opcodes if name == "GLOBAL"} == {
        "collections OrderedDict", "torch._utils _rebuild_tensor_v2",
        *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long")),
    }


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    kerazoo.save_weights(resnet(), path)
    old = path.read_bytes()
    for broken in ("safetensors", "weights.h5"):
        other = tmp_path / f"model.{broken}"
        other.write_bytes(old)
        monkeypatch.setattr(writers, "raw", lambda value: 1 / 0)
        monkeypatch.setattr(keras.Model, "save_weights", lambda model, path: open(path, "wb").close() or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            kerazoo.save_weights(resnet(), other)
        assert other.read_bytes() == old
    assert sorted(os.listdir(tmp_path)) == ["model.safetensors", "model.weights.h5"]


REFUSED = {
    "another stride": (lambda: kerazoo.resnet50_v1(), "torchvision has no network with the weights of resnet50_v1"),
    "another padding": (lambda: kerazoo.tf_efficientnet_b0(), "weights of tf_efficientnet_b0. Its EfficientNets pad"),
    "another network": (lambda: kerazoo.resnet20(), "torchvision has no network with the weights of resnet20"),
    "no norms": (lambda: resnet(norm="none"), "torchvision's resnet18 has norm='batch', the model norm='none'"),
    "other norms": (lambda: resnet(norm="group"), "torchvision's resnet18 has norm='batch', the model norm='group'"),
    "norms too many": (lambda: small("alexnet", norm="batch"), "alexnet has norm='none', the model norm='batch'"),
    "norms in a VGG": (lambda: small("vgg11", norm="batch"), "vgg11 has norm='none', the model norm='batch'"),
    "no norms in a VGG": (lambda: small("vgg11_bn", norm="none"), "vgg11_bn has norm='batch', the model norm='none'"),
    "another activation": (
        lambda: resnet(activation="gelu"), "torchvision's resnet18 has activation='relu', the model activation='gelu'"),
    "another in an EfficientNet": (
        lambda: small("efficientnet_b0", activation="relu"), "has activation='silu', the model activation='relu'"),
    "an activation with weights": (
        lambda: resnet(activation=keras.layers.PReLU), "has activation='relu', the model activation=a layer PReLU"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_torchvision_cannot_hold_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        to_torchvision(make())


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"There is no folder {tmp_path}/nowhere to write mine.safetensors to"):
        kerazoo.save_weights(resnet(), tmp_path / "nowhere/mine.safetensors")


def test_a_network_without_a_head_is_not_converted_to_one_that_has_it(tmp_path):
    kerazoo.save_weights(resnet(include_top=False), tmp_path / "mine.safetensors")
    with pytest.raises(ValueError, match="torchvision's resnet18 has a head, and mine.safetensors is of one without"):
        convert(tmp_path / "mine.safetensors", "resnet18", "torchvision", tmp_path / "theirs.pth")
    assert not (tmp_path / "theirs.pth").exists()


def test_a_state_dict_has_all_that_strict_loading_asks_for():
    model = resnet()
    state = to_torchvision(model)
    norms = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    assert len(state) == sum(len(layer.weights) for layer in model.layers) + norms
    counts = [array for name, array in state.items() if name.endswith("num_batches_tracked")]
    assert len(counts) == norms and all(array.shape == () and array.dtype == "int64" for array in counts)


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "vgg11_bn", "resnet18", "efficientnet_b0"])
def test_what_is_published_is_not_refused(name):
    assert to_torchvision(small(name)) and to_torchvision(small(name, activation=(
        "swish" if name.startswith("eff") else "relu")))


def test_convert_goes_round_in_a_circle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = resnet(input_shape=(32, 32, 1), classes=7)
    kerazoo.save_weights(model, "start.safetensors")
    path, summary = convert("start.safetensors", "resnet18", "torchvision")
    assert path == "resnet18.pth"
    assert summary.startswith("resnet18.pth: resnet18, 7 classes, 11,183,431 numbers, 44.8 MB")
    assert convert("resnet18.pth", "resnet18", "keras")[0] == "resnet18.weights.h5"
    assert convert("resnet18.weights.h5", "resnet18", "torchvision", "again.safetensors")[0] == "again.safetensors"
    convert("again.safetensors", "resnet18", "safetensors", "end.safetensors")
    start, end = read("start.safetensors"), read("end.safetensors")
    assert list(start) == list(end) and all(np.array_equal(start[name], end[name]) for name in start)
    assert end.metadata["builder"] == "resnet18"


def test_convert_keeps_what_a_file_of_ours_says(tmp_path):
    model = kerazoo.resnet20(classes=4, input_shape=(16, 24, 3), preprocessing="unit", include_top=False, pooling="max")
    kerazoo.save_weights(model, tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", "resnet20", "safetensors", tmp_path / "b.safetensors")
    assert read(tmp_path / "a.safetensors").metadata == read(tmp_path / "b.safetensors").metadata


GOOD = {"classes": 10, "input_shape": [28, 28, 1], "include_top": True, "activation": None, "norm": None,
        "preprocessing": None}
HOSTILE = {
    "another file": ({"weights": "/etc/passwd"}, "'weights', which no file may choose for mlp"),
    "published weights": ({"weights": "imagenet"}, "'weights', which no file may choose for mlp"),
    "augmentation": ({"augmentation": {"class_name": "Lambda"}}, "'augmentation', which no file may choose for mlp"),
    "another family's option": ({"aux_heads": True}, "'aux_heads', which no file may choose for mlp"),
    "two billion classes": ({"classes": 2_000_000_000}, "classes=2000000000, which cannot be"),
    "a million classes": ({"classes": 1_000_000}, "holds 669,706 numbers, and the mlp that it asks for has 513,"),
    "classes in words": ({"classes": "ten"}, "classes='ten', which cannot be"),
    "no classes": ({"classes": 0}, "classes=0, which cannot be"),
    "true classes": ({"classes": True}, "classes=True, which cannot be"),
    "a billion pixels": ({"input_shape": [10**9, 10**9, 3]}, "input_shape=.1000000000, .* which cannot be"),
    "many pixels": ({"input_shape": [9999, 9999, 3]}, r"numbers, and the mlp that it asks for has 153,\d*"),
    "a long shape": ({"input_shape": [1] * 100_000}, "which options mlp was built"),
    "wide layers": ({"units": [1_000_000] * 50}, "numbers, and the mlp that it asks for has 49,"),
    "wider layers": ({"units": 10**12}, "units=1000000000000, which cannot be"),
    "a layer": ({"activation": {"module": "builtins", "class_name": "eval", "config": "1"}},
                "activation=a layer eval, and no code is built after a file"),
    "a lambda": ({"activation": {"class_name": "__lambda__", "config": {"code": "4wE="}}},
                 "activation=a layer, and no code is built after a file"),
    "an unknown activation": ({"activation": "unknown"}, "no name in Keras, and no code is built after a file"),
    "an activation that is none": ({"activation": "os.system"}, "activation='os.system', which cannot be"),
    "an activation that Keras lacks": ({"activation": "system"}, "activation must be the name of .*; got 'system'"),
    "a dropout of two": ({"dropout": 2}, "dropout=2, which cannot be"),
    "no deviation": ({"preprocessing": [[0.5], [0.0]]}, "preprocessing=a list, which cannot be"),
    "an infinite mean": ({"preprocessing": [[float("inf")], [1]]}, "preprocessing=a list, which cannot be"),
    "deep JSON": ("[" * 40_000 + "]" * 40_000, "does not say in JSON with which options mlp was built"),
    "no JSON": ("options", "does not say in JSON with which options mlp was built"),
    "nothing": ("{}", "with which options mlp was built: classes, input_shape, .* is not there"),
}


@pytest.mark.parametrize(("said", "message"), HOSTILE.values(), ids=HOSTILE)
def test_convert_builds_nothing_that_a_file_may_not_ask_for(said, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kerazoo.save_weights(kerazoo.mlp(), "in.safetensors")
    options = said if isinstance(said, str) else json.dumps(GOOD | said)
    metadata = {"format": "kerazoo", "builder": "mlp", "options": options}
    arrays = {name: np.array(array) for name, array in read("in.safetensors").items()}
    write_safetensors("in.safetensors", arrays, metadata)
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=message) as caught:
        convert("in.safetensors", "mlp", "safetensors", "out.safetensors")
    assert len(str(caught.value)) < 600 and os.listdir() == ["in.safetensors"]
    assert time.process_time() - start < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_convert_builds_what_a_file_may_ask_for(tmp_path):
    model = kerazoo.mlp(units=[7, 8], input_shape=(5, 6, 3), classes=4, norm="batch", activation="tanh", dropout=0.5)
    kerazoo.save_weights(model, tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", "mlp", "safetensors", tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_arrays_without_numbers_ask_for_nothing_either(tmp_path):
    state = to_torchvision(resnet())
    state["fc.weight"], state["fc.bias"] = np.zeros((2_000_000_000, 0), "f4"), np.zeros(0, "f4")
    write_safetensors(tmp_path / "in.safetensors", state)
    with pytest.raises(ValueError, match="numbers, and the resnet18 that it asks for has 1,0"):
        convert(tmp_path / "in.safetensors", "resnet18", "keras", tmp_path / "out.weights.h5")


def test_a_file_from_a_model_with_its_own_function_is_not_converted(tmp_path):
    kerazoo.save_weights(kerazoo.mlp(activation=lambda x: x), tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="activation=something that has no name in Keras.* Build the model in Python"):
        convert(tmp_path / "a.safetensors", "mlp", "keras", tmp_path / "b.weights.h5")
    kerazoo.mlp().save(tmp_path / "model.keras")
    kerazoo.save_weights(kerazoo.load_model(tmp_path / "model.keras"), tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="was built: classes, input_shape, include_top is not there. Build the model"):
        convert(tmp_path / "a.safetensors", "mlp", "keras", tmp_path / "b.weights.h5")


BAD = {
    "unknown format": (dict(to="onnx"), "to must be one of 'keras', 'safetensors', 'torchvision'; got 'onnx'"),
    "unknown model": (dict(model_name="resnet19"), "Unknown model 'resnet19'"),
    "another ending": (dict(to="keras", output="x.pth"), "The output of to='keras' ends in .weights.h5; got 'x.pth'"),
    "the input itself": (dict(to="safetensors", output="./in.safetensors"), "is the file to convert itself"),
    "not what the file holds": (dict(model_name="vgg11"), "do not fit vgg11"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_convert_says_what_it_cannot_do(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kerazoo.save_weights(kerazoo.resnet20(), "in.safetensors")
    before = open("in.safetensors", "rb").read()
    with pytest.raises(ValueError, match=message):
        convert(**{"file": "in.safetensors", "model_name": "resnet20", "to": "safetensors", **arguments})
    assert os.listdir() == ["in.safetensors"] and open("in.safetensors", "rb").read() == before


def test_nothing_of_pytorch_is_imported(tmp_path):
    code = """
import sys
import kerazoo
from kerazoo.weights.writers import to_torchvision, write_pytorch
write_pytorch(sys.argv[1], to_torchvision(kerazoo.resnet18(classes=3)))
kerazoo.load_weights(kerazoo.resnet18(classes=3), sys.argv[1])
print(*{"torch", "safetensors", "torchvision"} & set(sys.modules), "done")
"""
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.pth")], capture_output=True, text=True)
    assert result.stdout.split() == ["done"], result.stderr[-2000:]
