"""What a server gets: the model's own numbers, from TensorFlow alone."""
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerazoo.export
from kerazoo.export import classifier, signatures, verify

ROOT = pathlib.Path(kerazoo.export.__file__).parents[2]
NAMES = ["zéro", "one", "two", "two"]
OUTPUTS = {
    "probabilities": "float32", "logits": "float32", "label": "string", "top_k_labels": "string",
    "top_k_probabilities": "float32",
}  # fmt: skip


class Doubled(keras.layers.Layer):
    """A layer that no other process knows."""

    def call(self, x):
        return 2.0 * x


def plain():
    """Logits, and all that is for training alone; compiled and trained, so that there are optimizer variables."""
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((8, 8, 1)), layers.Rescaling(1 / 255), layers.RandomFlip(), layers.RandomRotation(0.1),
        layers.Conv2D(4, 3), layers.BatchNormalization(momentum=0.5), layers.ReLU(), Doubled(),
        layers.GlobalAveragePooling2D(), layers.Dropout(0.5), layers.Dense(4),
    ])  # fmt: skip
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(pixels(16), np.arange(16) % 4, epochs=3, verbose=0)
    return model


def softmax(policy="float32"):
    images = keras.Input((8, 8, 1))
    x = keras.layers.Rescaling(1 / 25, dtype=policy)(images)
    x = keras.layers.Conv2D(4, 3, activation="relu", dtype=policy)(x)
    x = keras.layers.Flatten(dtype=policy)(x)
    return keras.Model(images, keras.layers.Dense(4, activation="softmax", dtype=policy)(x))


def mixed():
    return softmax("mixed_float16")


def pixels(batch, height=8, width=8, channels=1):
    return np.random.default_rng(7).integers(0, 256, (batch, height, width, channels), dtype="uint8")


@pytest.fixture(scope="module", params=[
    plain, *(pytest.param(one, marks=pytest.mark.slow) for one in (softmax, mixed)),
])
def exported(request, tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = request.param()
    path = kerazoo.export(model, tmp_path_factory.mktemp("exports") / "model", class_names=NAMES, verbose=False)
    return model, path, tf.saved_model.load(str(path))


def test_both_signatures_give_what_the_model_gives(exported):
    model, _, loaded = exported
    images = pixels(5)
    wanted = model.predict(images.astype("float32"), verbose=0).astype("float32")
    for name, dtype in (("serving_default", "float32"), ("serving_uint8", "uint8")):
        got = loaded.signatures[name](images=tf.constant(images, dtype))
        own = got["logits"] if model.layers[-1].activation is keras.activations.linear else got["probabilities"]
        half = any(layer.compute_dtype == "float16" for layer in model.layers)
        np.testing.assert_allclose(own, wanted, atol=1e-3 if half else 1e-5)
        np.testing.assert_allclose(tf.nn.softmax(got["logits"]), got["probabilities"], atol=1e-3)
        labels = [label.decode() for label in got["label"].numpy()]
        assert labels == [NAMES[best] for best in wanted.argmax(-1)]


def test_signatures_state_names_types_and_shapes(exported):
    _, _, loaded = exported
    wanted = {
        "serving_default": ({"images": ((None, 8, 8, 1), "float32")}, OUTPUTS),
        "serving_uint8": ({"images": ((None, 8, 8, 1), "uint8")}, OUTPUTS),
        "image_bytes": ({"image_bytes": ((None,), "string")}, OUTPUTS),
        "decode": ({"image_bytes": ((None,), "string")}, {"images": "uint8"}),
        "features": ({"images": ((None, 8, 8, 1), "float32")}, {"features": "float32"}),
        "grad_cam": (
            {"images": ((None, 8, 8, 1), "float32"), "classes": ((None,), "int32")}, {"heatmap": "float32"}
        ),
    }
    assert set(loaded.signatures) == set(wanted)
    for name, (inputs, outputs) in wanted.items():
        signature = loaded.signatures[name]
        positional, named = signature.structured_input_signature
        assert positional == () and {
            key: (tuple(spec.shape), spec.dtype.name) for key, spec in named.items()
        } == inputs
        assert {key: output.dtype.name for key, output in signature.structured_outputs.items()} == outputs


def test_the_best_classes_come_first(exported):
    model, _, loaded = exported
    got = loaded.signatures["serving_uint8"](images=tf.constant(pixels(5)))
    order = np.argsort(-got["probabilities"].numpy(), -1)
    np.testing.assert_array_equal(got["top_k_labels"], np.array([name.encode() for name in NAMES])[order])
    wanted = np.take_along_axis(got["probabilities"].numpy(), order, -1)
    np.testing.assert_array_equal(got["top_k_probabilities"], wanted)
    np.testing.assert_array_equal(got["label"], got["top_k_labels"][:, 0])


def test_encoded_images_get_what_their_pixels_get(exported):
    _, _, loaded = exported
    images = pixels(3)
    files = [tf.io.encode_png(image).numpy() for image in images]
    got = loaded.signatures["image_bytes"](image_bytes=tf.constant(files))
    wanted = loaded.signatures["serving_uint8"](images=tf.constant(images))
    for name in OUTPUTS:
        np.testing.assert_array_equal(got[name], wanted[name])
    np.testing.assert_array_equal(loaded.signatures["decode"](image_bytes=tf.constant(files))["images"], images)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image 2 of 3 \(index 1\) cannot be decoded"):
        loaded.signatures["image_bytes"](image_bytes=tf.constant([files[0], files[1][:40], files[2]]))


def test_features_are_what_the_last_dense_layer_gets(exported):
    model, _, loaded = exported
    images = pixels(3).astype("float32")
    got = loaded.signatures["features"](images=tf.constant(images))["features"]
    wanted = keras.Model(model.inputs[0], model.layers[-1].input)(images, training=False)
    half = any(layer.compute_dtype == "float16" for layer in model.layers)
    np.testing.assert_allclose(got, wanted, rtol=1e-2 if half else 1e-4, atol=1e-2 if half else 1e-5)


def test_what_a_norm_in_front_of_the_head_gives_is_the_features():
    images = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3, name="map")(images))
    x = keras.layers.BatchNormalization(name="norm")(x)
    model = keras.Model(images, keras.layers.Dense(4)(x))
    model.get_layer("norm").set_weights([np.array(value) for value in ([2.0] * 3, [1.0] * 3, [50.0] * 3, [9.0] * 3)])
    batch = pixels(2).astype("float32")
    extract = signatures.serving_module(classifier.classifier(model))[1]["features"]
    wanted = keras.Model(images, x)(batch, training=False)
    np.testing.assert_allclose(extract(images=tf.constant(batch))["features"], wanted, rtol=1e-4)


@pytest.mark.slow
def test_what_has_no_slope_has_no_grad_cam(tmp_path):
    images = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.sign(keras.layers.Conv2D(3, 3)(images)))
    model = keras.Model(images, keras.layers.Dense(4)(keras.layers.Lambda(lambda x: tf.bitcast(x, tf.float32))(x)))
    assert "grad_cam" not in tf.saved_model.load(str(kerazoo.export(model, tmp_path / "model"))).signatures


def test_other_shapes_are_refused_and_not_answered(exported):
    _, _, loaded = exported
    for shape in ((2, 9, 9, 1), (2, 8, 8, 3)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="(?i)shape"):
            loaded.signatures["serving_default"](images=tf.zeros(shape))


@pytest.mark.slow
def test_names_that_tensorflow_does_not_take(tmp_path):
    layers = [keras.layers.Flatten(name="my layer"), keras.layers.Dense(3, name="köpfe")]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers], name="mein modell")
    kerazoo.export(model, tmp_path / "mein modell", preprocessing={"size": [8, np.int64(8)]})


def test_grad_cam_is_the_gradient_weighted_feature_map():
    images = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(3, 3, name="map")(keras.layers.Rescaling(1 / 255)(images))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, keras.layers.Dense(4, activation="softmax", name="head")(x))
    explain = signatures.serving_module(classifier.classifier(model))[1]["grad_cam"]
    batch = pixels(2).astype("float32")
    heat = explain(images=tf.constant(batch), classes=tf.constant([1, 3]))["heatmap"].numpy()
    # Through global average pooling, the slope of log(softmax) by hand.
    kernel, probabilities = model.get_layer("head").kernel.numpy(), model(batch).numpy()
    maps = keras.Model(images, model.get_layer("map").output)(batch).numpy()
    for index, label in enumerate([1, 3]):
        slope = kernel[:, label] - kernel @ probabilities[index]
        wanted = np.maximum(maps[index] @ slope, 0)
        np.testing.assert_allclose(heat[index], wanted / max(wanted.max(), 1e-30), atol=1e-4)


def test_warm_up_requests_are_those_that_the_server_reads(exported):
    log = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason="tensorflow-serving-api is missing")
    _, path, loaded = exported
    answered = set()
    for record in tf.data.TFRecordDataset(str(path / "assets.extra" / "tf_serving_warmup_requests")):
        request = log.PredictionLog.FromString(record.numpy()).predict_log.request
        name = request.model_spec.signature_name
        outputs = loaded.signatures[name](**{
            key: tf.constant(tf.make_ndarray(tensor)) for key, tensor in request.inputs.items()
        })
        answered.add(name)
        assert all(len(output) == 1 for output in outputs.values())
    assert answered == set(loaded.signatures)


def test_nothing_of_training_is_inside(exported):
    model, path, loaded = exported
    for signature in loaded.signatures.values():
        graph = signature.graph.as_graph_def()
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        assert not [node.op for node in nodes if any(word in node.op for word in ("Random", "Rng", "Multinomial"))]
    # Weights are constants; there is no variable of an optimizer, a norm or a seed.
    variables = tf.train.list_variables(str(path / "variables" / "variables"))
    assert [name for name, _ in variables if "OBJECT" not in name] == []


def test_the_folder_holds_the_class_names_and_nothing_of_this_machine(exported):
    _, path, _ = exported
    assert (path / "assets" / "class_names.txt").read_text(encoding="utf-8") == "zéro\none\ntwo\ntwo\n"
    assert {file.name for file in path.iterdir()} == {
        "saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra",
    }
    assert str(path.parent).encode() not in (path / "saved_model.pb").read_bytes()


def test_free_sides_stay_free_and_labels_default_to_the_index(tmp_path, capfd):
    images = keras.Input((None, None, 3), dtype="uint8")
    x = keras.layers.Conv2D(4, 3, strides=2)(keras.layers.Rescaling(1 / 255)(images))
    model = keras.Model(images, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    path = kerazoo.export(model, str(tmp_path / "new" / "free"))

    out, err = capfd.readouterr()
    assert out.startswith(f"exported to {path}: ") and out.count("\n") == 1
    assert "Assets written" not in err

    signatures = tf.saved_model.load(str(path)).signatures
    for size in ((17, 23), (64, 32)):
        batch = pixels(2, *size, channels=3)
        got = signatures["serving_uint8"](images=tf.constant(batch))
        np.testing.assert_allclose(got["logits"], model(batch), atol=1e-5)
        assert {label.decode() for label in got["label"].numpy()} <= {"0", "1"}
    # Between two levels of uint8, a float is rounded, not cut off.
    shift = np.where(batch > 99, -0.4, 0.4).astype("float32")
    got = signatures["serving_default"](images=tf.constant(batch + shift))
    np.testing.assert_allclose(got["logits"], model(batch), atol=1e-5)


def small(head=4, shape=(8, 8, 1), **options):
    images = keras.Input(shape, **options)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    return keras.Model(images, head(x) if callable(head) else keras.layers.Dense(head)(x))


def two_outputs():
    model = small()
    return keras.Model(model.inputs, [model.outputs[0], model.layers[-2].output])


def two_inputs():
    first, second = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    return keras.Model([first, second], keras.layers.Dense(3)(keras.layers.Flatten()(first + second)))


def subclassed():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.flatten, self.dense = keras.layers.Flatten(), keras.layers.Dense(3)

        def call(self, x):
            return self.dense(self.flatten(x))

    model = Own()
    model(pixels(1).astype("float32"))
    return model


def diverged():
    model = small()
    model.layers[-1].bias.assign([np.nan] * 4)
    return model


@pytest.mark.parametrize(
    "model, error, message",
    [
        (lambda: "resnet18", TypeError, "must be a keras.Model; got str"),
        (lambda: keras.Sequential([keras.layers.Dense(3)]), ValueError, "has not been built.*keras.Input"),
        (subclassed, ValueError, "is a subclassed model.*Wrap it"),
        (two_inputs, ValueError, r"has 2 input\(s\) and 1 output"),
        (two_outputs, ValueError, r"has 1 input\(s\) and 2 output"),
        (lambda: small(shape=(64,)), ValueError, r"must take images.*takes \(None, 64\)"),
        (lambda: small(batch_size=4), ValueError, "batch of .* is fixed to 4"),
        (lambda: small(head=1), ValueError, r"two classes or more.*gives \(None, 1\)"),
        (lambda: small(keras.layers.Reshape((8, 8))), ValueError, r"one score per class.*gives \(None, 8, 8\)"),
        (lambda: small(keras.layers.Dense(4, activation="sigmoid")), ValueError, "activation 'sigmoid'.*Build it"),
        (lambda: small(keras.layers.ReLU()), ValueError, "activation 'relu'.*Build it"),
        (lambda: small(lambda x: keras.ops.tanh(x)), ValueError, "activation 'tanh'.*Build it"),
        (
            lambda: small(keras.layers.Lambda(lambda x: keras.ops.softmax(x))),
            ValueError,
            "seems to end in logits, but its outputs for one image sum to 1 ",
        ),
        (diverged, ValueError, "gives NaN or infinity"),
    ],
)
def test_what_is_no_classifier_is_refused(model, error, message, tmp_path):
    with pytest.raises(error, match=message):
        kerazoo.export(model(), tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"class_names": ["a", "b"]}, ValueError, "the model has 4; got 2 names"),
        ({"class_names": [0, 1, 2, 3]}, TypeError, r"number 0 is 0, a int.*str\(name\)"),
        ({"class_names": "abcd"}, TypeError, "must be a list of 4 strings; got 'abcd'"),
        ({"class_names": ["a", "b", "c", "d\ne"]}, ValueError, "single lines of UTF-8 text; number 3"),
        ({"class_names": ["a", "b", "c", "\udcff"]}, ValueError, "single lines of UTF-8 text; number 3"),
        ({"format": "keras"}, ValueError, "unknown export format 'keras'; there is: 'tf_saved_model', 'onnx'"),
        ({"quantize": "int8"}, ValueError, "quantize='int8' is none of format='tf_saved_model'; it has float32 only"),
        ({"calibration": []}, ValueError, "calibration is for quantize='int8'"),
        ({"runtime": "dist"}, ValueError, "runtime is for format='web'"),
        ({"preprocessing": 224}, TypeError, "must be a dictionary such as"),
        ({"preprocessing": {"crop": 9}}, ValueError, "preprocessing has 'size', 'resize', 'interpolation'; got 'crop'"),
        ({"preprocessing": {"size": (9, 9)}}, ValueError, "images of 9 x 9 pixels, but the model takes 8 x 8"),
        ({"preprocessing": {"resize": 4}}, ValueError, "resize must be None or .*at least as many as size has; got 4"),
    ],
)
def test_a_wrong_option_is_refused(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        kerazoo.export(small(), tmp_path / "model", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "head, probabilities",
    [
        (keras.layers.Dense(4, activation="softmax"), True),
        (keras.layers.Softmax(), True),
        (keras.ops.softmax, True),
        (lambda x: keras.layers.Activation("linear", dtype="float32")(keras.layers.Softmax()(x)), True),
        (keras.Sequential([keras.layers.Dense(3), keras.layers.Softmax()]), True),
        (keras.layers.Dense(4), False),
        (keras.layers.Dense(4, activation="log_softmax"), False),
        (Doubled(), False),
    ],
)
def test_what_a_model_ends_in(head, probabilities):
    assert classifier.ends_in_softmax(small(head)) is probabilities


def python(code, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_another_backend_is_told_to_rebuild_on_tensorflow(tmp_path):
    pytest.importorskip("jax")
    code = (
        "import keras, kerazoo.export\n"
        "model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])\n"
        f"kerazoo.export(model, {str(tmp_path / 'model')!r})\n"
    )
    result = python(code, KERAS_BACKEND="jax")
    assert "RuntimeError: Keras runs on jax here" in result.stderr and "KERAS_BACKEND=tensorflow" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["kerazoo.export(None, 'model')", "kerazoo.export.predict.Predictor('.')"])
def test_without_tensorflow_the_error_says_how_to_install_it(call, tmp_path):
    code = f"import sys; sys.modules['tensorflow'] = None; import kerazoo.export.predict; {call}"
    (tmp_path / "saved_model.pb").touch()
    result = python(f"import os; os.chdir({str(tmp_path)!r}); {code}")
    assert "ImportError: " in result.stderr and "pip install tensorflow" in result.stderr


def test_importing_the_package_loads_no_backend():
    result = python(
        "import sys, kerazoo.export; print([m for m in ('tensorflow', 'keras', 'numpy') if m in sys.modules])"
    )
    assert result.stdout.strip() == "[]"


def test_the_client_that_checks_an_export_can_import_neither_keras_nor_kerazoo(tmp_path):
    path = kerazoo.export(small(), tmp_path / "model", verbose=False)
    np.save(tmp_path / "pixels1.npy", pixels(2))
    code = (
        "import importlib, importlib.util, runpy, sys\n"
        "packages = ['keras', 'kerazoo', 'kerazoo.export']\n"
        "assert all(importlib.util.find_spec(package) for package in packages)\n"
        "for package in list(sys.modules):\n"
        "    if package.startswith('kerazoo'): del sys.modules[package]\n"
        f"runpy.run_path({verify.__file__!r})['client']({str(path)!r}, {str(tmp_path)!r}, sys.path)\n"
        "for package in packages:\n"
        "    try: importlib.import_module(package)\n"
        "    except ModuleNotFoundError: print('refused', package)\n"
    )
    result = python(code)
    assert result.stdout.splitlines() == ["refused keras", "refused kerazoo", "refused kerazoo.export"], result.stderr
