"""No weight file can run anything, reach another file, or cost much time or memory: it is refused in a sentence."""
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import time
import warnings

import ml_dtypes
import numpy as np
import pytest

import kerazoo
from kerazoo.weights import writers

HERE = pathlib.Path(__file__).parent
FLIPS = 400
# Seconds of the processor: those whose work is bounded take 3 where it is slow, and others have no end.
LIMIT = 10


def neighbor(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CASES = neighbor("hostile").CASES
c = neighbor("crafted")
# What the messages on some cases say, with groups of the case's name.
REASONS = {
    r"pickle: (\w+(?:\.\w+)+)": r"names '\1'",
    "pickle: (?:a million (?:keys|keys, nested|marks)|one long list in .*)": "takes more than 1000000 steps",
    "pickle: a call of what .* allowed call returned": "calls what it may not",
    "pickle: (?:the .* instruction|a PERSID line)": "instruction|names",
    "tensor: (?:a|an) .*(?:offset|stride|behind).*|tensor: stride 0 .*": "does not fit its storage|has offset",
    "tensor: ten thousand names.*": "many times as large",
    "zip: (?:tensor of|a pickle of) 256 MB.*": "too much for its size|longer than 16 MB",
    "zip: 256 MB of zeros said .*": "does not unpack to 512 bytes",
    "zip: two entries that overlap": "overlaps another",
    "zip: (?:an entry twice)": "is there twice",
    "zip: (?:a|an) .*path.*|zip: a folder that climbs out": "an entry called",
    "safetensors: a header of 2.*": "the limit is",
    "safetensors: a name twice": "occurs twice",
    "h5: (?:an external|a soft) link.*": "link to another place",
    "h5: (?:external storage|a virtual data set)": "in another file",
    "h5: 4 KB that are not there": "should have 4000 bytes and has 0",
    "h5: 1 TB.*|h5: 32 TB.*|h5: 256 MB of zeros.*": "it declares",
    "h5: a chunk that unpacks.*": "does not unpack",
    "h5: (?:the lzf|the scale-offset|a) filter.*": "unusual filter",
    "h5: a name of 4 GB": "4294967295 bytes long",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """All files, in the order of CASES, in a folder of their own."""
    folder = tmp_path_factory.mktemp("hostile") / "inside"
    folder.mkdir()
    with warnings.catch_warnings():
        # zipfile finds some names odd; that is the point.
        warnings.simplefilter("ignore", UserWarning)
        for index, write in enumerate(CASES.values()):
            write(folder / str(index))
    return folder


@pytest.fixture(scope="module")
def reports(files):
    """Let one fresh process read them."""
    before = listing(files.parent)
    result = subprocess.run(
        [sys.executable, HERE / "worker.py", files, str(FLIPS)], capture_output=True, text=True, timeout=900
    )
    assert result.returncode == 0, result.stderr[-3000:]
    report = json.loads(result.stdout)
    own = {"inside/good", "inside/bad", *(f"inside/flip_{kind}" for kind in report["flips"])}
    report["written"] = sorted(listing(files.parent) - before - own)
    report["cases"] = dict(zip(CASES, report["cases"], strict=True))
    return report


def listing(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_refused_in_a_sentence(name, reports):
    report = reports["cases"][name]
    assert report["kind"] == "WeightsError", report
    message = report["message"]
    assert 30 < len(message) < 600 and message.isprintable() and message.endswith(".")
    # Several checks stand behind each other; where it matters, the first one must have struck.
    for pattern, reason in REASONS.items():
        if match := re.fullmatch(pattern, name):
            assert re.search(match.expand(reason), message), message


@pytest.mark.parametrize("name", CASES)
def test_nothing_of_a_hostile_file_is_run_and_no_other_file_opened(name, reports):
    report = reports["cases"][name]
    assert not report["events"] and not report["canary"]


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_costs_little_time_and_memory(name, reports):
    report = reports["cases"][name]
    assert report["seconds"] < LIMIT
    assert report["memory"] < 2 * report["size"] + 200e6


@pytest.mark.slow
def test_a_model_stays_as_it_was(files):
    model = kerazoo.lenet5()
    before = [weight.copy() for weight in model.get_weights()]
    for index, name in enumerate(CASES):
        with pytest.raises(kerazoo.weights.WeightsError, match="do not fit lenet5: "):
            kerazoo.load_weights(model, files / str(index))
        for weight, old in zip(model.get_weights(), before):
            np.testing.assert_array_equal(weight, old, err_msg=name)


# Well-formed files of a ResNet-18 as torchvision names it, all but for this.
ALL_BUT = {
    "NaN in a kernel": lambda s: s["layer4.1.conv2.weight"].__setitem__((5, 5, 1, 1), np.nan),
    "NaN in the last array": lambda s: s["fc.bias"].__setitem__(-1, np.nan),
    "infinite variances": lambda s: s["bn1.running_var"].fill(np.inf),
    "NaN in bfloat16": lambda s: s.update({"bn1.bias": np.full(64, np.nan, ml_dtypes.bfloat16)}),
    "numbers too large for float32": lambda s: s.update({"conv1.weight": np.full((64, 3, 7, 7), 1e300)}),
    "integers": lambda s: s.update({"bn1.weight": np.ones(64, "int64")}),
    "integers of a kernel": lambda s: s.update({"conv1.weight": np.ones((64, 3, 7, 7), "int64")}),
    "an array of no axes": lambda s: s.update({"bn1.weight": np.ones((), "f4")}),
    "a kernel of no axes": lambda s: s.update({"conv1.weight": np.ones((), "f4")}),
    "a kernel of one axis": lambda s: s.update({"conv1.weight": s["conv1.weight"].ravel()}),
    "a kernel of eight axes": lambda s: s.update({"conv1.weight": s["conv1.weight"].reshape(1, 1, 1, 64, 1, 3, 7, 7)}),
    "a kernel of no numbers": lambda s: s.update({"conv1.weight": np.ones((64, 3, 0, 7), "f4")}),
    "a kernel turned": lambda s: s.update({"conv1.weight": np.ascontiguousarray(s["conv1.weight"].T)}),
    "a kernel of another size": lambda s: s.update({"conv1.weight": np.ones((64, 3, 3, 3), "f4")}),
    "a norm of another size": lambda s: s.update({"bn1.running_mean": np.zeros(63, "f4")}),
    "a head that billions of inputs have": lambda s: s.update({"fc.weight": np.ones((1 << 39, 0), "f4")}),
    "a missing kernel": lambda s: s.pop("layer1.0.conv1.weight"),
    "a missing variance": lambda s: s.pop("layer4.1.bn2.running_var"),
    "an array too many": lambda s: s.update({"layer1.2.conv1.weight": np.ones((64, 64, 3, 3), "f4")}),
    "a norm with a second bias": lambda s: s.update({"layer1.0.bn1.bias.bias": np.ones(64, "f4")}),
    "a bias that does not fit its norm": lambda s: s.update({"conv1.bias": np.ones(63, "f4")}),
    "a bias in front of a norm that is not finite": lambda s: s.update({"conv1.bias": np.full(64, np.nan, "f4")}),
    "half of it under another name": lambda s: [s.update({f"ema.{name}": s.pop(name)}) for name in list(s)[60:]],
    "all names again in capitals": lambda s: s.update({name.upper(): array for name, array in list(s.items())}),
    "Keras Applications' names for some": lambda s: s.update({"conv1_conv/kernel": s.pop("conv1.weight")}),
    "ten thousand arrays too many": lambda s: s.update({f"x{i}": np.ones(1, "f4") for i in range(10_000)}),
}


@pytest.fixture(scope="module")
def resnet():
    return kerazoo.resnet18(input_shape=(32, 32, 3), classes=3)


@pytest.mark.parametrize("write", [writers.write_safetensors, writers.write_pytorch])
@pytest.mark.parametrize("spoil", ALL_BUT.values(), ids=ALL_BUT)
def test_a_model_stays_as_it_was_where_a_file_fits_nearly(spoil, write, resnet, tmp_path):
    before = [weight.copy() for weight in resnet.get_weights()]
    state = writers.to_torchvision(resnet)
    # Other numbers, of which none must arrive.
    state = {name: array if name.endswith("tracked") else array + np.float32(0.5) for name, array in state.items()}
    spoil(state)
    write(tmp_path / "weights", state)
    start = time.process_time()
    with pytest.raises(kerazoo.weights.WeightsError, match="do not fit resnet18: ") as caught:
        kerazoo.load_weights(resnet, tmp_path / "weights")
    assert time.process_time() - start < LIMIT
    assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()
    for weight, old in zip(resnet.get_weights(), before):
        assert weight.tobytes() == old.tobytes()


def test_two_names_for_one_tensor_are_one_too_many(resnet, tmp_path):
    before = [weight.copy() for weight in resnet.get_weights()]
    tensors, storages = {}, {}
    for i, (name, array) in enumerate(writers.to_torchvision(resnet).items()):
        strides = [stride // array.itemsize for stride in array.strides]
        tensors[name] = "Float" if array.dtype == "float32" else "Long", str(i), array.size, 0, array.shape, strides
        storages[str(i)] = (array + array.dtype.type(1)).tobytes()
    tensors["conv1.again.weight"] = tensors["conv1.weight"]
    c.torch_zip(tmp_path / "weights.pth", c.pickle(c.state(tensors)), storages)
    with pytest.raises(kerazoo.weights.WeightsError, match=r"belonging to no layer \(1\): conv1.again.weight"):
        kerazoo.load_weights(resnet, tmp_path / "weights.pth")
    assert all(weight.tobytes() == old.tobytes() for weight, old in zip(resnet.get_weights(), before))


def test_nothing_is_written_anywhere(reports):
    assert reports["written"] == []


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy", "keras_legacy", "keras3"])
def test_a_flipped_bit_is_noticed_or_harmless(kind, reports):
    """Only the zip has checksums. Elsewhere a bit of a number goes unnoticed, and so does a letter of a name: whoever
    loads the arrays into a model compares names and shapes. Reading itself always ends in arrays or a sentence."""
    counts = reports["flips"][kind]
    allowed = {"WeightsError", "the same"}
    if kind != "zip":
        allowed |= {"other numbers or names", "other shapes"}
        assert counts.get("other shapes", 0) < 0.02 * FLIPS
    assert set(counts) <= allowed and sum(counts.values()) == FLIPS
    assert counts["WeightsError"] > 0.03 * FLIPS
