"""Activation memory against what TensorFlow keeps and allocates."""
import pathlib
import runpy

import keras
import pytest

import kerazoo

layers = keras.layers
SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "analyze.py"

# Published sizes where a graph of the size does no harm, smaller ones elsewhere.
KEPT = {
    "lenet5": None, "alexnet": None, "vgg16": None, "googlenet": None, "inception_v3": (149, 149, 3), "resnet18": None,
    "resnet50": None, "resnet20": None, "preact_resnet18": None, "densenet40_12": None, "efficientnet_lite0": None,
    "efficientnet_b0": None,
}


LONG = ("inception_v3", "resnet50", "efficientnet_b0")


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in KEPT
])
def test_what_training_keeps_is_what_tensorflow_keeps(name):
    benchmark = runpy.run_path(str(SCRIPT))
    model = kerazoo.create_model(name, input_shape=KEPT[name])
    kept = benchmark["growth"](lambda batch: benchmark["tensorflow_kept"](model, batch))
    assert kerazoo.analyze(model).training_bytes == pytest.approx(kept, rel=0.1)


INFERENCE = ("lenet5", "resnet18", "resnet20", "densenet40_12", "efficientnet_lite0", "resnet50", "efficientnet_b0")


@pytest.mark.slow
def test_what_inference_needs_is_what_tensorflow_allocates(run_python):
    # A process of its own, since oneDNN, which lays tensors out in its own way, is turned off at the start.
    code = f"""
import runpy, kerazoo
benchmark = runpy.run_path({str(SCRIPT)!r})
for name in {INFERENCE!r}:
    model = kerazoo.create_model(name)
    print(name, kerazoo.analyze(model).activation_bytes, benchmark["tensorflow_inference"](model))
"""
    lines = run_python(code, TF_ENABLE_ONEDNN_OPTS="0").stdout.splitlines()
    assert len(lines) == len(INFERENCE)
    for line in lines:
        name, ours, theirs = line.split()
        assert int(ours) == pytest.approx(int(theirs), rel=0.1), name


def test_a_chain_by_hand():
    model = keras.Sequential([
        keras.Input((16, 16, 3)),
        layers.Rescaling(1 / 255, name="scale"),
        layers.Conv2D(8, 3, padding="same", name="conv"),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(name="relu"),
        layers.MaxPooling2D(2, name="pool"),
        layers.Conv2D(4, 3, padding="same", activation="relu", name="second"),
        layers.Flatten(),
        layers.Dense(10, name="head"),
    ])
    analysis = kerazoo.analyze(model)
    small, wide = 4 * 16 * 16 * 3, 4 * 16 * 16 * 8
    # The first convolution reads the scaled image and writes its own output: no other two are as large.
    assert analysis.activation_bytes == max(small + wide, wide + wide // 4)
    kept = {row.name: row.training_bytes for row in analysis.rows}
    assert kept["scale"] == small and kept["conv"] == kept["relu"] == wide
    assert kept["norm"] == 0 and kept["head"] == 0
    assert kept["pool"] == wide // 4 and kept["second"] == wide // 8


def test_frozen_layers_keep_nothing_for_themselves():
    model = kerazoo.resnet20()
    whole = kerazoo.analyze(model).training_bytes
    for layer in model.layers:
        layer.trainable = layer.name.startswith(("stage3", "head"))
    part = kerazoo.analyze(model)
    rows = {row.name: row.training_bytes for row in part.rows}
    assert rows["stage1_block2_conv1"] == 0 and rows["stage3_block2_conv1"] > 0
    assert part.training_bytes < whole / 3
    for layer in model.layers:
        layer.trainable = layer.name == "head"
    assert kerazoo.analyze(model).training_bytes == 4 * 64  # the pooled features


def test_half_precision_takes_half_the_room():
    full = kerazoo.analyze(kerazoo.resnet20())
    keras.config.set_dtype_policy("mixed_float16")
    half = kerazoo.analyze(kerazoo.resnet20())
    rows = {row.name: row.activation_bytes for row in full.rows}
    assert all(2 * row.activation_bytes == rows[row.name] for row in half.rows if row.name.endswith("conv1"))
    assert half.training_bytes < 0.6 * full.training_bytes


def test_a_separable_convolution_keeps_what_lies_between_its_kernels():
    image = keras.Input((64, 64, 3))
    x = keras.layers.SeparableConv2D(128, 3, padding="same", activation="relu", name="one")(image)
    x = keras.layers.SeparableConv2D(16, 3, 2, padding="same", activation="relu", name="two")(x)
    one, two = (row for row in kerazoo.analyze(keras.Model(image, x)).rows if row.name in ("one", "two"))
    # In float32: 3 channels between and 128 behind; at half the size, 128 between and 16 behind.
    assert one.training_bytes == 4 * 64 * 64 * (3 + 128)
    assert two.training_bytes == 4 * 32 * 32 * (128 + 16)
