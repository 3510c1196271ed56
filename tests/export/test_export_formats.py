"""Other formats: what each runtime gives is what Keras gives, and what goes with a model comes back."""
import dataclasses
import json
import logging
import pathlib
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerazoo
from kerazoo.export import classifier as classifiers, converters, fold, formats, runtimes, signatures
from kerazoo.export.encoded import Preprocessing

NAMES = ("zéro", "two words", "日本", "tab\there", '"quoted" & <marked>')
PREPROCESSING = Preprocessing((16, 16), 20, "bicubic")
NEEDED = {"onnx": ["tf2onnx", "onnxruntime"], "litert": ["ai_edge_litert"], "openvino": ["openvino"]}
NEEDED["web"], NEEDED["tf_saved_model"] = NEEDED["onnx"], []
ENDINGS = {"onnx": ".onnx", "litert": ".tflite", "openvino": "_openvino", "web": "_web"}


def needs(format):
    for package in NEEDED[format]:
        pytest.importorskip(package, reason=f"{package}, which the format {format!r} needs, is not installed")


def pixels(batch, height=16, width=16, channels=3):
    return np.random.default_rng(7).integers(0, 256, (batch, height, width, channels), dtype="uint8")


def network(side=16, last=None, channels=3, margin=0):
    layers = keras.layers
    images = keras.Input((side, side, channels))
    x = layers.Rescaling(1 / 64, offset=-2.0)(images)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = Margin()(x) if margin else x
    x = layers.MaxPooling2D(3, 2)(x)
    x = layers.DepthwiseConv2D(3, activation="swish")(x)
    x = layers.Flatten()(x) if side else layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(5, activation=last, dtype=None)(x))


class Margin(keras.layers.Layer):
    """What a max pooling of stride 2 needs to pad symmetrically."""

    def call(self, x):
        return tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-65504.0)


def classifier_of(model, class_names=NAMES, preprocessing=PREPROCESSING):
    softmax = classifiers.ends_in_softmax(model)
    return classifiers.Classifier(model, model, tuple(model.inputs[0].shape[1:]), softmax, class_names, preprocessing)


def expected(classifier, images):
    outputs = signatures.concrete(classifier)(images=tf.constant(images, tf.float32))
    return {name: output.numpy() for name, output in outputs.items()}


def written(format, classifier, folder, **options):
    needs(format)
    target = folder / f"model{ENDINGS.get(format, '')}"
    if format == "tf_saved_model":
        return saved_model(classifier, target)
    formats.FORMATS[format].write(classifier, target, **options)
    return target


def saved_model(classifier, target):
    classify, module = signatures.concrete(classifier), tf.Module()
    module.weights = list(classify.graph.variables)
    spec = tf.TensorSpec((None, *classifier.image_shape), tf.uint8, name="images")
    of_bytes = tf.function(lambda images: classify(images=tf.cast(images, tf.float32)), input_signature=[spec])
    tf.saved_model.save(module, str(target), {"serving_default": classify, "serving_uint8": of_bytes})
    assets = {name: json.dumps(value) for name, value in converters.facts(classifier).items()}
    (target / "assets" / "preprocessing.json").write_text(assets["preprocessing"], "utf-8")
    names = "".join(f"{name}\n" for name in classifier.class_names)
    (target / "assets" / "class_names.txt").write_text(names, "utf-8")
    return target


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """shared(format) -> a classifier and its export, written once; tests leave it as it is."""
    classifier, targets = classifier_of(network()), {}

    def get(format):
        if format not in targets:
            targets[format] = written(format, classifier, tmp_path_factory.mktemp("shared"))
        return classifier, targets[format]

    return get


def copied(target, folder):
    copy = folder / target.name
    return pathlib.Path((shutil.copytree if target.is_dir() else shutil.copy)(target, copy))


def difference(got, wanted):
    """Of the logits, as a part of the largest."""
    assert got.dtype == wanted.dtype == np.float32 and got.shape == wanted.shape
    return np.abs(got - wanted).max() / np.abs(wanted).max()


EXACT = [(format, None) for format in ENDINGS]
QUANTIZED = [("litert", "float16"), ("litert", "dynamic"), ("openvino", "float16")]


@pytest.mark.parametrize(
    "format, quantize, last",
    [(*each, None) for each in EXACT + QUANTIZED] + [(format, None, "softmax") for format in list(ENDINGS)[:3]],
)
def test_runtimes_give_what_keras_gives(format, quantize, last, tmp_path):
    classifier = classifier_of(network(last=last))
    loaded = runtimes.load(written(format, classifier, tmp_path, quantize=quantize))
    for batch in (3, 1, 2):
        images = pixels(batch)
        wanted, got = expected(classifier, images), loaded.run(images)
        for name, allowed in (("logits", 1e-5), ("probabilities", 1e-5)):
            assert difference(got[name], wanted[name]) < (allowed if quantize is None else 2e-2)
            np.testing.assert_array_equal(got[name], loaded.run(images.astype("float32"))[name])
    assert loaded.run(pixels(0))["logits"].shape == (0, 5)


@pytest.mark.parametrize("format", [*ENDINGS, "tf_saved_model"])
def test_class_names_preprocessing_and_shape_come_back(format, shared):
    loaded = runtimes.load(shared(format)[1])
    assert loaded.format == format
    assert loaded.class_names == NAMES
    assert loaded.preprocessing == {"size": [16, 16], "resize": 20, "interpolation": "bicubic"}
    assert loaded.image_shape == (16, 16, 3)


@pytest.mark.parametrize("format", ENDINGS)
def test_images_of_any_size_and_gray(format, tmp_path):
    classifier = classifier_of(network(side=None, channels=1))
    loaded = runtimes.load(written(format, classifier, tmp_path))
    assert loaded.image_shape == (None, None, 1)
    for height, width in ((16, 16), (21, 30), (16, 16)):
        images = pixels(2, height, width, 1)
        assert difference(loaded.run(images)["logits"], expected(classifier, images)["logits"]) < 1e-5


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("format", ["onnx", "litert", "openvino"])
def test_half_precision_becomes_float32(format, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    half = network()
    keras.config.set_dtype_policy("float32")
    full = network()
    full.set_weights(half.get_weights())
    got = runtimes.load(written(format, classifier_of(half), tmp_path)).run(pixels(2))
    assert difference(got["logits"], expected(classifier_of(full), pixels(2))["logits"]) < 1e-5


@pytest.mark.parametrize("format", ["onnx", "litert", "openvino"])
def test_integer_models_round(format, tmp_path):
    images = keras.Input((16, 16, 3), dtype="uint8")
    classifier = classifier_of(keras.Model(images, network()(images)))
    images = pixels(2).astype("float32") + np.float32(0.3)
    got = runtimes.load(written(format, classifier, tmp_path)).run(images)
    assert difference(got["logits"], expected(classifier, pixels(2))["logits"]) < 1e-5


# int8


@pytest.mark.parametrize("last", [None, "softmax"])
@pytest.mark.parametrize("listed", [False, True])
def test_int8_agrees_with_keras(last, listed, tmp_path):
    model = network(last=last)
    head = model.layers[-1].kernel
    head.assign(8 * head)  # so sure of its classes that many a probability is below 1/256
    classifier = classifier_of(model)
    images = pixels(64)
    calibration = [images[:40], images[40:]] if listed else images
    target = written("litert", classifier, tmp_path, quantize="int8", calibration=calibration)
    wanted, got = expected(classifier, images), runtimes.load(target).run(images)
    spread = np.ptp(wanted["logits"])
    centered = [each - each.mean(-1, keepdims=True) for each in (got["logits"], wanted["logits"])]
    assert np.abs(centered[0] - centered[1]).max() < 0.05 * spread
    assert np.abs(got["probabilities"] - wanted["probabilities"]).max() < 0.05
    assert (got["logits"].argmax(-1) == wanted["logits"].argmax(-1)).mean() > 0.85


def test_int8_takes_pixels_as_they_are(tmp_path):
    dark = pixels(4) // 4  # the range of the calibration must not become the range of the input
    target = written("litert", classifier_of(network()), tmp_path, quantize="int8", calibration=dark)
    from ai_edge_litert.interpreter import Interpreter

    (details,) = Interpreter(model_path=str(target)).get_input_details()
    assert details["dtype"] == np.uint8 and details["quantization"] == (1.0, 0)
    loaded, images = runtimes.load(target), pixels(2)
    images[0, 0, :2] = [[0], [255]]
    beyond = images + np.where(images > 127, 0.4, -0.4).astype("float32")
    np.testing.assert_array_equal(loaded.run(beyond)["logits"], loaded.run(images)["logits"])
    weights = Interpreter(model_path=str(target)).get_tensor_details()
    assert not [each["name"] for each in weights if each["dtype"] == np.float32 and np.prod(each["shape"]) > 5]


def test_int8_survives_a_margin_that_never_wins(tmp_path):
    classifier = classifier_of(network(margin=1))
    images = pixels(32)
    target = written("litert", classifier, tmp_path, quantize="int8", calibration=images)
    wanted, got = expected(classifier, images)["logits"], runtimes.load(target).run(images)["logits"]
    assert np.abs(got - wanted).max() < 0.05 * np.ptp(wanted)


@pytest.mark.parametrize(
    "calibration, error, match",
    [
        (None, ValueError, "some hundred images"),
        ([], ValueError, "no image"),
        (pixels(2).astype("float32"), TypeError, "uint8.*got float32"),
        (pixels(2, height=8), ValueError, r"\(batch, 16, 16, 3\).*\(2, 8, 16, 3\)"),
        (pixels(2)[0], ValueError, r"got the shape \(16, 16, 3\)"),
    ],
)
def test_calibration_is_checked(calibration, error, match, tmp_path):
    with pytest.raises(error, match=match):
        converters.litert(classifier_of(network()), tmp_path / "x.tflite", quantize="int8", calibration=calibration)


# What is special to each format


def test_onnx_is_what_others_expect(shared):
    needs("onnx")
    import onnx

    model = onnx.load(shared("onnx")[1])
    assert [each.name for each in model.graph.input] == ["images"]
    assert {each.name for each in model.graph.output} == {"probabilities", "logits"}
    sides = model.graph.input[0].type.tensor_type.shape.dim
    assert [side.dim_param or side.dim_value for side in sides] == ["batch", 16, 16, 3]
    assert model.opset_import[0].version >= 18
    stored = {each.key: json.loads(each.value) for each in model.metadata_props}
    assert tuple(stored["class_names"]) == NAMES and stored["preprocessing"]["resize"] == 20
    # Channels last to channels first, once; and back, for the flattened features.
    assert sum(node.op_type == "Transpose" for node in model.graph.node) <= 2


def test_litert_files_can_be_unzipped(shared):
    with zipfile.ZipFile(shared("litert")[1]) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode("utf-8").splitlines() == list(NAMES)


def test_openvino_labels_are_those_of_its_model_api(shared):
    _, target = shared("openvino")
    assert sorted(file.name for file in target.iterdir()) == ["model.bin", "model.xml"]
    import openvino

    model = openvino.Core().read_model(target / "model.xml")
    labels = model.get_rt_info(["model_info", "labels"]).astype(str)
    assert labels.split(" ") == ["zéro", "two_words", "日本", "tab_here", '"quoted"_&_<marked>']
    assert [port.get_names() for port in model.inputs] == [{"images"}]
    assert {name for port in model.outputs for name in port.get_names()} == {"probabilities", "logits"}


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_torch_writes_torchvisions_state_dict(ending, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch, which reads the state dict, is not installed")
    model = kerazoo.create_model("resnet18", classes=5, input_shape=(32, 32, 3))
    converters.torch(classifier_of(model), tmp_path / f"resnet18{ending}")
    if ending == ".pth":
        state = torch.load(tmp_path / "resnet18.pth", weights_only=True)
    else:
        safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
        state = safetensors.load_file(tmp_path / "resnet18.safetensors")
    kernel = np.transpose(model.get_layer("stem_conv").kernel, (3, 2, 0, 1))
    np.testing.assert_array_equal(state["conv1.weight"].numpy(), kernel)
    assert state["fc.bias"].shape == (5,) and "bn1.running_var" in state


def test_torch_refuses_what_torchvision_does_not_have(tmp_path):
    with pytest.raises(ValueError, match="torchvision has no network"):
        converters.torch(classifier_of(network()), tmp_path / "x.pth")
    with pytest.raises(ValueError, match=".pth or .safetensors; got '.*x.pt'"):
        kerazoo.export(kerazoo.create_model("lenet5"), tmp_path / "x.pt", format="torch")
    with pytest.raises(ValueError, match="weights alone"):
        (tmp_path / "y.pth").touch()
        runtimes.load(tmp_path / "y.pth")


def test_web_folders_are_complete(tmp_path):
    dist = tmp_path / "dist"
    dist.mkdir()
    for name in converters.WEB_RUNTIME_FILES:
        (dist / name).write_text(name)
    target = written("web", classifier_of(network()), tmp_path, runtime=dist)
    files = {str(file.relative_to(target)) for file in target.rglob("*") if file.is_file()}
    wanted = {"index.html", "model.onnx", "model.json", *(f"runtime/{name}" for name in converters.WEB_RUNTIME_FILES)}
    assert files == wanted
    about = json.loads((target / "model.json").read_text("utf-8"))
    assert about["runtime"] == "runtime/" and about["image_shape"] == [16, 16, 3]


def test_web_without_a_runtime_names_one_on_the_net(tmp_path):
    target = written("web", classifier_of(network()), tmp_path)
    runtime = json.loads((target / "model.json").read_text("utf-8"))["runtime"]
    assert runtime.startswith("https://") and "@" in runtime and runtime.endswith("/dist/")
    page = (target / "index.html").read_text("utf-8")
    assert "http" not in page.replace("http.server", "")


def test_web_refuses_what_browsers_lack(tmp_path):
    with pytest.raises(FileNotFoundError, match="ort.wasm.min.mjs"):
        converters.web(classifier_of(network()), tmp_path / "page", runtime=tmp_path)
    with pytest.raises(ValueError, match="1 or 3 channels; the model takes 4"):
        converters.web(classifier_of(network(channels=4)), tmp_path / "page")
    assert not (tmp_path / "page").exists()


# What goes wrong


@pytest.mark.parametrize("format", [format for format in formats.FORMATS if format != "tf_saved_model"])
def test_unknown_quantization_lists_what_there_is(format):
    there = {"litert": "there is: 'float16', 'dynamic', 'int8'", "openvino": "there is: 'float16'"}
    with pytest.raises(ValueError, match=f"'int4' is none of format='{format}'; {there.get(format, 'it has float32')}"):
        kerazoo.export(network(), "x", format=format, quantize="int4")


@pytest.mark.parametrize(
    "format, package, match",
    [
        ("onnx", "tf2onnx", "pip install tf2onnx onnx"), ("web", "onnx", "pip install tf2onnx onnx"),
        ("openvino", "openvino", "pip install openvino"),
    ],
)  # fmt: skip
def test_missing_converters_are_named(format, package, match, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=match):
        formats.FORMATS[format].write(classifier_of(network()), tmp_path / "x")


@pytest.mark.parametrize(
    "format, package, match",
    [
        ("onnx", "onnxruntime", "pip install onnxruntime"), ("litert", "ai_edge_litert.interpreter", "ai-edge-litert"),
        ("openvino", "openvino", "pip install openvino"),
    ],
)  # fmt: skip
def test_missing_runtimes_are_named(format, package, match, shared, monkeypatch):
    _, target = shared(format)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=match):
        runtimes.load(target)


class Strange(keras.layers.Layer):
    """An operation that only TensorFlow has."""

    def call(self, x):
        return tf.reshape(tf.math.igamma(tf.nn.relu(x) + 1.0, 2.0), tf.shape(x))


@pytest.mark.parametrize("format", ["onnx", "litert", "openvino"])
def test_what_cannot_be_converted_is_one_sentence(format, tmp_path):
    images = keras.Input((16, 16, 3))
    model = keras.Model(images, network()(Strange()(images)))
    with pytest.raises(ValueError, match=r"cannot be converted to .*\. Replace the layer") as raised:
        written(format, classifier_of(model), tmp_path)
    assert "\n" not in str(raised.value) and "gamma" in str(raised.value)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "garbled"])
@pytest.mark.parametrize("format", ["onnx", "litert", "openvino", "web"])
def test_damaged_files_are_one_sentence(format, damage, shared, tmp_path):
    target = copied(shared(format)[1], tmp_path)
    file = {"openvino": target / "model.xml", "web": target / "model.onnx"}.get(format, target)
    data = file.read_bytes()
    garbled = data[:64] + bytes(byte ^ 0xA5 for byte in data[64:256]) + data[256:]
    damaged = {"truncated": data[: len(data) // 2], "empty": b"", "text": b"no model\n" * 99, "garbled": garbled}
    file.write_bytes(damaged[damage])
    with pytest.raises(ValueError, match="cannot be loaded: .*Export the model again") as raised:
        runtimes.load(target)
    assert "\n" not in str(raised.value)


def test_openvino_weights_must_be_whole(shared, tmp_path):
    target = copied(shared("openvino")[1], tmp_path)
    weights = (target / "model.bin").read_bytes()
    (target / "model.bin").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ValueError, match="cannot be loaded"):
        runtimes.load(target)
    (target / "model.bin").unlink()
    with pytest.raises(ValueError, match="cannot be loaded"):
        runtimes.load(target)


def test_what_is_no_export_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is nothing at"):
        runtimes.load(tmp_path / "nothing")
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ValueError, match="a file that ends in '.jpg'"):
        runtimes.load(tmp_path / "photo.jpg")
    with pytest.raises(ValueError, match="a folder that holds photo.jpg"):
        runtimes.load(tmp_path)
    with pytest.raises(ValueError, match="threads must be"):
        runtimes.load(tmp_path, threads=0)


def test_an_onnx_file_of_others_is_refused(shared, tmp_path):
    target = copied(shared("onnx")[1], tmp_path)
    import onnx

    model = onnx.load(target)
    del model.metadata_props[:]
    onnx.save(model, target)
    with pytest.raises(ValueError, match="class_names"):
        runtimes.load(target)


@pytest.mark.parametrize("format", ["onnx", "litert", "openvino"])
def test_images_are_checked(format, shared):
    loaded = runtimes.load(shared(format)[1], threads=1)
    with pytest.raises(TypeError, match="uint8 or float32.*float64"):
        loaded.run(pixels(1).astype("float64"))
    for wrong in (pixels(1)[0], pixels(1, height=8), pixels(1, channels=1)):
        with pytest.raises(ValueError, match=r"\(batch, 16, 16, 3\); got"):
            loaded.run(wrong)


# How it goes


@pytest.mark.parametrize("format, quantize", [*EXACT, ("litert", "int8")])
def test_converters_and_runtimes_say_nothing(format, quantize, tmp_path, capfd):
    classifier = classifier_of(network())
    capfd.readouterr()
    target = written(format, classifier, tmp_path, quantize=quantize, calibration=pixels(2) if quantize else None)
    runtimes.load(target).run(pixels(2))
    assert tuple(capfd.readouterr()) == ("", "")


def test_silence_ends_with_the_conversion(capfd):
    with runtimes.quiet():
        subprocess.run(["sh", "-c", "echo lost; echo lost >&2"], check=True)
        print("lost")
    print("kept", flush=True)
    subprocess.run(["sh", "-c", "echo kept too >&2"], check=True)
    assert tuple(capfd.readouterr()) == ("kept\n", "kept too\n")


@pytest.mark.parametrize(
    "format, quantize", [*EXACT, *QUANTIZED, ("litert", "int8")]
)
def test_an_export_is_tried_before_it_takes_its_place(format, quantize, tmp_path, capsys, monkeypatch):
    needs(format)
    keras.utils.set_random_seed(0)
    model, target = network(), tmp_path / f"model{ENDINGS[format]}"
    options = {"class_names": NAMES, "preprocessing": {"resize": 20}, "quantize": quantize}
    if quantize == "int8":
        options["calibration"] = pixels(32)
    assert kerazoo.export(model, target, format=format, **options) == target
    assert capsys.readouterr().out.startswith(f"exported to {target}: ")
    loaded = runtimes.load(target)
    assert loaded.class_names == NAMES and loaded.preprocessing["resize"] == 20
    images = pixels(3)
    tolerance = {None: 1e-5, "float16": 1e-2, "dynamic": 0.1, "int8": 0.2}[quantize]
    wanted = keras.ops.convert_to_numpy(model(images.astype("float32")))
    assert difference(loaded.run(images)["logits"], wanted) < tolerance

    # Another model's numbers in the place of this one's: the first stays.
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    keras.utils.set_random_seed(1)
    other = classifier_of(network())
    write = formats.FORMATS[format].write
    swapped = dataclasses.replace(
        formats.FORMATS[format], write=lambda classifier, place, **more: write(other, place, **more)
    )
    monkeypatch.setitem(formats.FORMATS, format, swapped)
    with pytest.raises(RuntimeError, match="the export disagrees with the model"):
        kerazoo.export(model, target, format=format, **options)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("last", ["dense", "layer", "operation", "flattened"])
def test_int8_of_a_model_that_ends_in_softmax(last, tmp_path):
    needs("litert")
    model = network(last="softmax" if last == "dense" else None)
    model.layers[-1].kernel.assign(30 * model.layers[-1].kernel)  # confident, as after training
    x = model.outputs[0]
    if last != "dense":
        x = keras.ops.softmax(x) if last == "operation" else keras.layers.Softmax()(x)
    model = keras.Model(model.inputs, keras.layers.Flatten()(x) if last == "flattened" else x)
    images = pixels(32)
    target = kerazoo.export(model, tmp_path / "x.tflite", format="litert", quantize="int8", calibration=images)
    got = runtimes.load(target).run(images)["logits"].argmax(-1)
    assert (got == keras.ops.convert_to_numpy(model(images.astype("float32"))).argmax(-1)).mean() > 0.8


@pytest.mark.parametrize("damage", ["reversed", "fewer", "noise"])
def test_quantized_logits_that_say_something_else_are_refused(damage):
    from kerazoo.export import verify

    logits = 20 + np.random.default_rng(0).normal(size=(10, 5)).astype("float32")
    verify.check_loose(logits + 3 + 0.01 * logits, logits)
    wrong = {"reversed": logits[:, ::-1], "fewer": logits[:9], "noise": logits[::-1]}[damage]
    with pytest.raises(RuntimeError, match="the export disagrees with the model"):
        verify.check_loose(wrong, logits)


def test_half_precision_with_operations_goes_into_every_format(tmp_path):
    needs("onnx")
    layers = keras.layers
    images = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same", dtype="mixed_float16")(images)
    x = layers.GlobalAveragePooling2D(dtype="mixed_float16")(x + x)
    kerazoo.export(keras.Model(images, layers.Dense(3, dtype="float32")(x)), tmp_path / "x.onnx", format="onnx")


def test_free_sides_without_preprocessing(tmp_path):
    needs("litert")
    model = network(side=None)
    loaded = runtimes.load(kerazoo.export(model, tmp_path / "x.tflite", format="litert"))
    assert loaded.image_shape == (None, None, 3) and loaded.preprocessing == {}
    with pytest.raises(ValueError, match="preprocessing={'size': "):
        kerazoo.export(model, tmp_path / "page", format="web")


def test_threads_that_are_quiet_together_leave_the_terminal_as_it_was(capfd):
    from concurrent.futures import ThreadPoolExecutor

    def work(number):
        with runtimes.quiet():
            print("chatter")

    before = sys.stdout
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))
    assert sys.stdout is before and not logging.root.manager.disable
    print("heard")
    assert capfd.readouterr().out == "heard\n"


@pytest.mark.slow
def test_a_state_dict_is_tried_with_torchvision_where_there_is_one(tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    # AlexNet as torchvision has it, since a torchvision made for another PyTorch cannot be imported.
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "import torch\n"
        "class models:\n"
        "    def get_model(name, weights, num_classes):\n"
        "        assert name == 'alexnet' and weights is None and num_classes == 3\n"
        "        nn = torch.nn\n"
        "        def conv(*sizes, **more): return [nn.Conv2d(*sizes, **more), nn.ReLU()]\n"
        "        model = nn.Module()\n"
        "        model.features = nn.Sequential(\n"
        "            *conv(3, 64, 11, stride=4, padding=2), nn.MaxPool2d(3, 2), *conv(64, 192, 5, padding=2),\n"
        "            nn.MaxPool2d(3, 2), *conv(192, 384, 3, padding=1), *conv(384, 256, 3, padding=1),\n"
        "            *conv(256, 256, 3, padding=1), nn.MaxPool2d(3, 2))\n"
        "        model.classifier = nn.Sequential(\n"
        "            nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),\n"
        "            nn.Linear(4096, num_classes))\n"
        "        pool = nn.AdaptiveAvgPool2d(6)\n"
        "        model.forward = lambda x: model.classifier(torch.flatten(pool(model.features(x)), 1))\n"
        "        return model\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, activation in (("x.pth", None), ("x.safetensors", "softmax")):
        model = kerazoo.alexnet(classes=3, classifier_activation=activation)
        kerazoo.export(model, tmp_path / name, format="torch")
        assert "reloaded in a fresh process" in capsys.readouterr().out
    (tmp_path / "torchvision" / "__init__.py").write_text("raise ImportError")
    kerazoo.export(kerazoo.alexnet(classes=3), tmp_path / "x.pth", format="torch")
    assert "NOT run, since torchvision cannot be imported here" in capsys.readouterr().out


@pytest.mark.parametrize("format", ["onnx", "litert", "openvino"])
def test_threads_may_share_a_model(format, shared):
    from concurrent.futures import ThreadPoolExecutor

    loaded = runtimes.load(shared(format)[1], threads=1)
    batches = [np.roll(pixels(batch), batch, axis=1) for batch in (1, 2, 3, 4) * 8]
    wanted = [loaded.run(batch)["logits"] for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for got, alone in zip(pool.map(loaded.run, batches), wanted):
            np.testing.assert_allclose(got["logits"], alone, atol=1e-6)


# The zoo, in full: benchmarks/export_zoo.py


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_int8_says_what_float32_says(name, tmp_path):
    needs("litert")
    model = kerazoo.create_model(name, input_shape=(64, 64, 3), classes=10)
    with_statistics(model)
    classifier = classifier_of(fold.inference_model(model)[0], tuple(map(str, range(10))), Preprocessing((64, 64)))
    images = pixels(24, 64, 64)
    wanted = expected(classifier, images)["logits"]
    target = written("litert", classifier, tmp_path, quantize="int8", calibration=images)
    got = runtimes.load(target).run(images)["logits"]
    same = (got.argmax(-1) == wanted.argmax(-1)).mean()
    print(f"{name}: int8 differs by {difference(got, wanted):.1%} of the largest logit, same best class: {same:.0%}")
    assert np.corrcoef(got.ravel(), wanted.ravel())[0, 1] > 0.9 and same >= 0.8


def with_statistics(model):
    """Give norms the statistics of some images, as training would, so that no activation explodes or dies."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    if norms:
        model(pixels(16, *model.inputs[0].shape[1:]).astype("float32"), training=True)
