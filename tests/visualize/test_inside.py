"""Filters, maps, Grad-CAM, saliency and drawings of ours and of others' models."""
import keras
import numpy as np
import pytest
from keras import layers

import kerazoo
from kerazoo.visualize import architecture, feature_maps, filters, grad_cam, saliency
from kerazoo.visualize.attribution import cam, gradients, heatmaps


def photos(n=3, height=32, width=32, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, channels), dtype="uint8")


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def said(figure):
    return " ".join(text.get_text() for text in figure.texts)


def small(softmax=True, size=8):
    """A network whose Grad-CAM can be worked out by hand: convolution, ReLU, mean, dense."""
    image = keras.Input((size, size, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="map")(layers.Rescaling(1 / 255)(image))
    x = layers.Dense(5, activation="softmax" if softmax else None, name="scores")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, x, name="small")


def nested():
    inner = small().layers
    image = keras.Input((8, 8, 3))
    body_in = keras.Input((8, 8, 3))
    body = keras.Model(body_in, layers.Conv2D(4, 3, activation="relu", name="map")(body_in), name="body")
    x = layers.GlobalAveragePooling2D()(body(layers.Rescaling(1 / 255)(image)))
    model = keras.Model(image, layers.Dense(5, activation="softmax", name="scores")(x), name="nest")
    for name in ("map", "scores"):
        where = body if name == "map" else model
        source = next(layer for layer in inner if layer.name == name)
        where.get_layer(name).set_weights(source.get_weights())
    return model


# Grad-CAM


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam++"])
def test_grad_cam_is_what_the_papers_say(method):
    model, images = small(), photos(2, 8, 8)
    _, heat, classes, probabilities, call = heatmaps(model, images, method=method)
    assert call.name == "map" and heat.shape == (2, 6, 6)
    np.testing.assert_allclose(probabilities, model.predict(images, verbose=0), rtol=1e-4)
    maps = np.asarray(keras.Model(model.inputs, model.get_layer("map").output)(images))
    kernel = np.asarray(model.get_layer("scores").kernel)
    for k in range(2):
        assert classes[k] == probabilities[k].argmax()
        # The mean over 36 places, then the dense kernel: the slope of the score in front of the softmax is known.
        slope = kernel[:, classes[k]] / 36
        if method == "grad_cam":
            weights = slope
        else:
            share = slope**2 / (2 * slope**2 + maps[k].sum((0, 1)) * slope**3)
            weights = 36 * share * np.maximum(slope, 0)
        expected = np.maximum((maps[k] * weights).sum(-1), 0)
        np.testing.assert_allclose(heat[k], expected / (expected.max() or 1), atol=1e-4)


def test_logits_and_softmax_have_the_same_heatmap():
    with_softmax, without = small(), small(softmax=False)
    without.set_weights(with_softmax.get_weights())
    images = photos(2, 8, 8)
    first, second = (heatmaps(model, images, [1, 2])[1] for model in (with_softmax, without))
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert with_softmax.get_layer("scores").activation is keras.activations.softmax  # as it was


def test_a_nested_model_has_the_heatmap_of_a_flat_one():
    keras.utils.set_random_seed(1)
    flat = small()
    keras.utils.set_random_seed(1)
    model = nested()
    for name, where in (("map", model.get_layer("body")), ("scores", model)):
        where.get_layer(name).set_weights(flat.get_layer(name).get_weights())
    images = photos(2, 8, 8)
    np.testing.assert_allclose(
        heatmaps(model, images, [0, 3])[1], heatmaps(flat, images, [0, 3])[1], atol=1e-5
    )
    assert heatmaps(model, images)[4].name == "body/map"
    for name in ("map", "body/map"):
        assert "body/map" in said(grad_cam(model, images, layer=name))


def test_a_foreign_model_and_one_sigmoid(tmp_path):
    model = keras.applications.MobileNetV2(input_shape=(64, 64, 3), weights=None, classes=7, alpha=0.35)
    figure = grad_cam(model, photos(2, 64, 64).astype("float32") / 127.5 - 1, class_names="abcdefg")
    assert [title[-1] for title in titles(figure)[1::2]] == ["%", "%"] and "out_relu" in said(figure)
    figure.savefig(tmp_path / "cam.png")
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(image))
    binary = keras.Model(image, layers.Dense(1, activation="sigmoid")(x))
    images = photos(1, 8, 8) / 2550
    yes, no = (heatmaps(binary, images, k) for k in (1, 0))
    np.testing.assert_allclose(yes[3].sum(-1), 1, rtol=1e-5)
    assert not np.allclose(yes[1], no[1]) and (yes[1] * no[1]).max() < 1e-6  # what speaks for one, against the other


def test_nothing_speaks_for_a_class_is_said():
    model = small()
    kernel, bias = model.get_layer("scores").get_weights()
    model.get_layer("scores").set_weights([-np.abs(kernel), bias])
    figure = grad_cam(model, photos(1, 8, 8), 2, class_names=["a", "b", "$c$", "d", "e"])
    assert titles(figure)[1].startswith("$c$: ") and "nothing speaks for it" in titles(figure)[1]


def test_saliency_is_the_gradient_of_the_score():
    model, images = small(), photos(2, 8, 8)
    _, slopes, classes, _ = gradients(model, images, [4, 4])
    bare = small(softmax=False)
    bare.set_weights(model.get_weights())
    pixels = images.astype("float32")
    up, down = pixels.copy(), pixels.copy()
    up[0, 3, 4, 1] += 0.5
    down[0, 3, 4, 1] -= 0.5
    difference = float(bare(up)[0, 4] - bare(down)[0, 4])
    np.testing.assert_allclose(slopes[0, 3, 4, 1], difference, rtol=0.05, atol=1e-7)
    assert list(classes) == [4, 4]
    assert len(saliency(model, images).axes) == 4


@pytest.mark.slow
def test_other_backends_agree(run_python):
    code = """
import keras, numpy as np
keras.utils.set_random_seed(0)
from keras import layers
from kerazoo.visualize import feature_maps, saliency
from kerazoo.visualize.attribution import heatmaps
image = keras.Input((8, 8, 3))
rest = np.random.default_rng(0)
x = layers.Conv2D(4, 3, activation="relu", name="map")(layers.Rescaling(1 / 255)(image))
model = keras.Model(image, layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
model.set_weights([rest.normal(size=weight.shape) for weight in model.weights])
images = rest.integers(0, 256, (2, 8, 8, 3)).astype("uint8")
seen = np.round(heatmaps(model, images, [0, 1], method="grad_cam++")[1].sum((1, 2)), 2).tolist()
assert len(saliency(model, images).axes) == 4 and feature_maps(model, images[0]).axes
"""
    here = {}
    exec(code, here)
    for backend in ("jax", "torch"):
        if backend == "torch":
            pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
        there = run_python(f"{code}\nprint(seen)", backend=backend).stdout
        assert there.split("\n")[-2] == str(here["seen"]), backend


def test_zero_gradients_do_not_divide_by_zero():
    maps = np.ones((1, 2, 2, 3), "float32")
    assert not cam(maps, np.zeros_like(maps), "grad_cam++").any()


# Filters and maps


def test_filters_show_each_kernel_and_page():
    model = kerazoo.lenet5()
    figure = filters(model)
    kernel = np.asarray(model.get_layer("stage1_conv").kernel)
    assert len(figure.axes) == 6 and titles(figure)[2] == f"2: ±{np.abs(kernel[..., 2]).max():.2g}"
    second = filters(model, "stage2", page=2)
    assert "16 filters of 5 × 5 × 6 inputs" in said(second) and "page 2 of 2" in said(second)
    assert len(second.axes) == 8 * 6
    picture = figure.axes[0].images[0].get_array()
    brightest = np.unravel_index(np.abs(kernel[..., 0, 0]).argmax(), (5, 5))
    middle = tuple(int((k + 0.5) * picture.shape[0] / 5) for k in brightest)
    end = picture[middle]
    assert end.max() < 140  # the largest weight is at a dark end of the scale, orange or violet; zero is white


def test_filters_of_colors_depthwise_and_dense_layers():
    colored = filters(kerazoo.resnet20())
    assert len(colored.axes) == 16 and colored.axes[0].images[0].get_array().shape[-1] == 3
    image = keras.Input((8, 8, 3))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depth")(image)
    x = layers.Conv2DTranspose(4, 3, name="up")(x)
    model = keras.Model(image, layers.SeparableConv2D(5, 3, name="separable")(x))
    assert len(filters(model).axes) == 6
    assert "4 filters of 3 × 3 × 6 inputs" in said(filters(model, "up"))
    assert len(filters(model, "separable").axes) == 4
    dense = filters(kerazoo.mlp(units=(12,)))
    assert len(dense.axes) == 12 and "12 units of 28 × 28" in said(dense)


def test_a_dense_layer_that_reads_features_is_not_shown_as_pixels():
    # 7 x 7 x 16 features are as many as 28 x 28 pixels, and are none.
    image = keras.Input((28, 28, 1))
    x = layers.Conv2D(16, 4, strides=4, name="map")(image)
    model = keras.Model(image, layers.Dense(5, name="scores")(layers.Flatten()(x)))
    with pytest.raises(ValueError, match="scores .* has no kernel that can be shown .* those that have are map"):
        filters(model, "scores")
    # What leaves each pixel in its place may be in between, and what is at work in training alone.
    augmented = kerazoo.mlp(units=(12,), augmentation=[kerazoo.augment.RandomAffine(), layers.RandomFlip()])
    assert "12 units of 28 × 28" in said(filters(augmented))
    x = layers.Dropout(0.5)(layers.GaussianNoise(1.0)(layers.Normalization(mean=1.0, variance=2.0)(image)))
    model = keras.Model(image, layers.Dense(5)(layers.Reshape((784,))(x)))
    assert "5 units of 28 × 28" in said(filters(model))
    model = keras.Model(image, layers.Dense(5)(layers.Flatten()(layers.Permute((2, 1, 3))(image))))
    with pytest.raises(ValueError, match="no dense layer that reads the pixels"):
        filters(model)


def test_feature_maps_are_those_of_the_model():
    model, image = kerazoo.lenet5(), photos(1, 32, 32, 1)[0]
    figure = feature_maps(model, image, ["stage1_act", "stage2_pool"], page=2)
    assert "page 2 of 2" in said(figure) and "stage1_act" not in said(figure)
    values = np.asarray(keras.Model(model.inputs, model.get_layer("stage2_pool").output)(image[None]))[0]
    assert titles(figure)[0] == f"8: {values[..., 8].min():.2g} to {values[..., 8].max():.2g}"
    all_sizes = said(feature_maps(model, image))
    assert all(name in all_sizes for name in ("stage1_act", "stage1_pool", "stage2_act", "stage2_pool"))
    one = feature_maps(model, image, "stage2_act")
    assert len(one.axes) == 16


def test_lambdas_shared_layers_and_augmentation_are_run_as_at_inference():
    image = keras.Input((12, 12, 3))
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    first = layers.Conv2D(4, 3, padding="same", name="first")(layers.GaussianNoise(1.0)(image))
    x = layers.Lambda(lambda t: t * 2, name="double")(shared(shared(first)))
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Dropout(0.9)(x))))
    figure = feature_maps(model, photos(1, 12, 12)[0], "double")
    values = np.asarray(keras.Model(model.inputs, x)(photos(1, 12, 12)))[0, ..., 0]
    assert titles(figure)[0] == f"0: {values.min():.2g} to {values.max():.2g}"
    assert len(grad_cam(model, photos(1, 12, 12)).axes) == 2
    assert "Lambda · dropout" in words(architecture(model))


def test_mixed_precision_and_nested_integer_inputs():
    keras.config.set_dtype_policy("mixed_bfloat16")
    image = keras.Input((8, 8, 3), dtype="uint8")
    x = layers.Conv2D(4, 3, activation="relu", name="map")(layers.Rescaling(1 / 255)(image))
    inner = keras.Model(image, layers.Dense(3, dtype="float32")(layers.GlobalAveragePooling2D()(x)))
    outer_image = keras.Input((8, 8, 3), dtype="float32")
    model = keras.Model(outer_image, inner(outer_image))
    images = photos(2, 8, 8)
    heat = heatmaps(model, images)
    assert np.isfinite(heat[1]).all() and heat[4].name.endswith("/map")
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(model(images)))
    np.testing.assert_allclose(heat[3], expected, atol=0.02)


# Drawings


def words(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_blocks_that_are_alike_are_one_box():
    drawn = words(architecture(kerazoo.resnet50()))
    assert {"stage1_block1", "stage1_block2 to 3: 2 alike", "stage3_block2 to 6: 5 alike", "head"} <= set(drawn)
    assert "conv 1×1, 3×3 /2, 1×1, 1×1 /2, sum · batch norm, relu" in drawn
    assert "2,049,000 parameters" in drawn and "7 × 7 × 2,048" in drawn
    assert "stage1_block1 to 6: 6 alike" in words(architecture(kerazoo.densenet121()))


def test_blocks_that_differ_stay_apart():
    pages = [word for page in (1, 2) for word in words(architecture(kerazoo.googlenet(), page))]
    # 256 and 480 channels, of convolutions at the same places.
    assert {"stage3_a", "stage3_b"} <= set(pages) and not any("alike" in word for word in pages)

    def twin(**changes):
        x = image = keras.Input((16, 16, 8))
        for block in (1, 2):
            settings = {"filters": 8, "kernel_size": 3, "padding": "same", **(changes if block == 2 else {})}
            x = layers.Conv2D(**settings, name=f"stage1_block{block}_conv")(x)
        return words(architecture(keras.Model(image, x)))

    assert "stage1_block1 to 2: 2 alike" in twin()
    for changes in ({"filters": 4}, {"kernel_size": 1}, {"dilation_rate": 2}, {"groups": 4}):
        drawn = twin(**changes)
        assert {"stage1_block1", "stage1_block2"} <= set(drawn), changes


@pytest.mark.parametrize("name", ["VGG16", "Xception", "MobileNetV2", "ResNet50"])
def test_models_of_keras_are_drawn(name):
    # Those of VGG and Xception begin with a block right behind the image.
    model = getattr(keras.applications, name)(input_shape=(96, 96, 3), weights=None, classes=5)
    drawn = words(architecture(model))
    assert "image" in drawn and f"{model.count_params():,} parameters" in drawn[0]
    if name == "VGG16":
        assert {"block1", "block2", "block5", "conv 3×3, 3×3, maximum pooling 2×2 /2"} <= set(drawn)


def test_no_parameter_is_lost_between_the_boxes():
    for model in (kerazoo.lenet5(), kerazoo.googlenet(), kerazoo.efficientnet_b0(), nested()):
        counts, page = 0, 1
        while True:
            figure = architecture(model, page)
            counts += sum(
                int(text.split()[0].replace(",", "")) for text in words(figure)
                if text.endswith(" parameters") and text[0].isdigit()
            )
            if "page" not in words(figure)[0] or f"page {page} of {page}" in words(figure)[0]:
                break
            page += 1
        assert counts == model.count_params(), model.name


# What does not fit


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(layers.Flatten()(x))


def built():
    model = Subclassed()
    model(np.zeros((1, 8, 8, 3)))
    return model


def rounded():
    image = keras.Input((8, 8, 3))
    x = keras.ops.stop_gradient(layers.Conv2D(4, 3)(image))
    return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


MISTAKES = {
    "no model": (lambda: filters("resnet18"), "filters takes a keras.Model; got str"),
    "subclassed": (lambda: grad_cam(built(), photos(1, 8, 8)), "is a subclassed model .* Build it as a functional"),
    "not built": (lambda: architecture(Subclassed()), "has not been built"),
    "no image": (lambda: filters(keras.Sequential([keras.Input((4,)), layers.Dense(2)])), "for models of images"),
    "no kernel": (lambda: filters(kerazoo.lenet5(), "flatten"), "flatten .* has no kernel .* stage1_conv, stage2_conv"),
    "no such layer": (
        lambda: feature_maps(small(), photos(1, 8, 8), "mop"), "no layer, block or stage 'mop'; did you mean map"
    ),
    "no convolution": (lambda: feature_maps(kerazoo.mlp(), photos(1, 28, 28, 1)), "mlp has no convolution"),
    "no map": (lambda: grad_cam(kerazoo.mlp(), photos(1, 28, 28, 1)), "no map of features .*saliency works without"),
    "vector": (
        lambda: grad_cam(small(), photos(1, 8, 8), layer="scores"), r"scores gives \(5,\), wanted a map .*as map gives"
    ),
    "size": (lambda: grad_cam(small(), photos(1, 9, 8)), r"\(1, 9, 8, 3\), wanted \(n, 8, 8, 3\), as small takes"),
    "many": (lambda: saliency(small(), photos(65, 8, 8)), "got 65 of them, wanted 1 to 64"),
    "two images": (lambda: feature_maps(small(), photos(2, 8, 8)), "image: got 2 of them, wanted one"),
    "nan": (lambda: saliency(small(), np.full((1, 8, 8, 3), np.nan)), "some pixels are NaN"),
    "class": (lambda: grad_cam(small(), photos(2, 8, 8), 5), "got 5 to 5, wanted indices from 0 to 4"),
    "classes": (lambda: grad_cam(small(), photos(2, 8, 8), [1, 2, 3]), "wanted one class index, or 2, one an image"),
    "names": (lambda: grad_cam(small(), photos(1, 8, 8), class_names=["a"]), "got 1 of them, wanted 5"),
    "method": (lambda: grad_cam(small(), photos(1, 8, 8), method="cam"), "wanted 'grad_cam' or 'grad_cam\\+\\+'"),
    "page": (lambda: filters(small(), page=2), "page: got 2, and there is 1"),
    "page zero": (lambda: architecture(small(), page=0), "page: got 0, wanted an integer of at least 1"),
    "no classifier": (lambda: saliency(kerazoo.resnet20(include_top=False), photos(1)), "is for classifiers"),
}


@pytest.mark.parametrize(("call", "message"), MISTAKES.values(), ids=MISTAKES)
def test_what_does_not_fit_is_answered_in_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_model_that_diverged_is_told():
    model = small()
    model.set_weights([np.full(weight.shape, np.nan) for weight in model.weights])
    with pytest.raises(ValueError, match="its weights may be so, after a training that diverged"):
        grad_cam(model, photos(1, 8, 8))
    with pytest.raises(ValueError, match="holds NaN or infinite values"):
        feature_maps(model, photos(1, 8, 8))


def test_gradients_that_are_stopped_are_told():
    with pytest.raises(ValueError, match="needs the gradient .* on its pixels, and there is none"):
        saliency(rounded(), photos(1, 8, 8))


def test_padding_in_front_of_a_convolution_changes_no_other_layers_map():
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 1, name="first")(image)
    x = keras.layers.Conv2D(4, 3, 2, name="second")(keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name="padded")(x))
    drawn = words(architecture(keras.Model(image, x)))
    assert ["8 × 8 × 4" in drawn, "9 × 9 × 4" in drawn, "padded" in drawn, "4 × 4 × 4" in drawn] == [True] * 4
