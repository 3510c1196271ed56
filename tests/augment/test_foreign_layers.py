"""Augmentation layers of Keras and KerasCV in one list with ours, in a model."""

import inspect
import warnings

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("KerasCV's layers and TensorFlow's XLA are what this is about", allow_module_level=True)

import kerazoo
from kerazoo.augment import Compose, MixUp, RandomAffine

keras_cv = pytest.importorskip("keras_cv", reason="keras-cv is not installed: pip install 'kerazoo[keras-cv]'")
RANGE = (0, 255)
CV = {
    "AugMix": dict(value_range=RANGE),
    "AutoContrast": dict(value_range=RANGE),
    "ChannelShuffle": {},
    "Equalization": dict(value_range=RANGE),
    "Grayscale": dict(output_channels=3),
    "GridMask": {},
    "JitteredResize": dict(target_size=(32, 32), scale_factor=(0.8, 1.2)),
    "Posterization": dict(value_range=RANGE, bits=4),
    "RandAugment": dict(value_range=RANGE),
    "RandomApply": dict(layer=lambda: keras_cv.layers.GridMask()),
    "RandomAugmentationPipeline": dict(layers=lambda: [keras_cv.layers.GridMask()], augmentations_per_image=1),
    "RandomBrightness": dict(factor=0.3),
    "RandomChannelShift": dict(value_range=RANGE, factor=0.3),
    "RandomChoice": dict(layers=lambda: [keras_cv.layers.RandomHue(0.5, RANGE), keras_cv.layers.GridMask()]),
    "RandomColorDegeneration": dict(factor=0.5),
    "RandomColorJitter": dict(
        value_range=RANGE, brightness_factor=0.2, contrast_factor=0.2, saturation_factor=0.2, hue_factor=0.2
    ),
    "RandomContrast": dict(value_range=RANGE, factor=0.3),
    "RandomCrop": dict(height=32, width=32),
    "RandomCropAndResize": dict(target_size=(32, 32), crop_area_factor=(0.5, 1.0), aspect_ratio_factor=(0.8, 1.2)),
    "RandomCutout": dict(height_factor=0.5, width_factor=0.5),
    "RandomFlip": {},
    "RandomGaussianBlur": dict(kernel_size=3, factor=1.0),
    "RandomHue": dict(factor=0.5, value_range=RANGE),
    "RandomJpegQuality": dict(factor=(50, 90)),
    "RandomRotation": dict(factor=0.1),
    "RandomSaturation": dict(factor=0.5),
    "RandomSharpness": dict(factor=0.5, value_range=RANGE),
    "RandomShear": dict(x_factor=0.2),
    "RandomTranslation": dict(height_factor=0.1, width_factor=0.1),
    "RandomZoom": dict(height_factor=0.1),
    "Rescaling": dict(scale=0.5),
    "Resizing": dict(height=32, width=32),
    "Solarization": dict(value_range=RANGE),
}
# What cannot stand in a model's list, and why.
CV_REFUSED = {
    "MixUp": ({}, "the loss would not hear of it"),
    "CutMix": ({}, "the loss would not hear of it"),
    "FourierMix": ({}, "the loss would not hear of it"),
    "Mosaic": ({}, "the loss would not hear of it"),
    # It makes the batch larger than its labels.
    "RepeatedAugmentation": (dict(augmenters=lambda: [keras_cv.layers.GridMask()]), "the loss would not hear of it"),
    # Its images have sizes of their own, and it leaves them so.
    "RandomAspectRatio": (dict(factor=(0.8, 1.2)), "changes the size of the images"),
}
CV_ABSTRACT = {"BaseImageAugmentationLayer", "VectorizedBaseImageAugmentationLayer"}
KERAS = {
    "AugMix": {},
    "AutoContrast": {},
    "CenterCrop": dict(height=32, width=32),
    "ContrastLimitedAdaptiveHistogramEqualization": {},
    "Equalization": {},
    "RandAugment": {},
    "RandomBrightness": dict(factor=0.2),
    "RandomColorDegeneration": dict(factor=0.5),
    "RandomColorJitter": dict(brightness_factor=0.2, contrast_factor=0.2, saturation_factor=0.2, hue_factor=0.2),
    "RandomContrast": dict(factor=0.2),
    "RandomCrop": dict(height=32, width=32),
    "RandomElasticTransform": {},
    "RandomErasing": {},
    "RandomFlip": {},
    "RandomGaussianBlur": {},
    "RandomGrayscale": {},
    "RandomHue": dict(factor=0.2),
    "RandomInvert": {},
    "RandomPerspective": {},
    "RandomPosterization": dict(factor=4),
    "RandomRotation": dict(factor=0.1),
    "RandomSaturation": dict(factor=0.2),
    "RandomSharpness": dict(factor=0.2),
    "RandomShear": dict(x_factor=0.1),
    "RandomTranslation": dict(height_factor=0.1, width_factor=0.1),
    "RandomZoom": dict(height_factor=0.1),
    "Resizing": dict(height=32, width=32),
    "Solarization": {},
}
KERAS_REFUSED = {name: ({}, "the loss would not hear of it") for name in ("MixUp", "CutMix")}
# A later Keras may have more, an earlier one less: those that are there are tried.
KERAS_LATER = {"ContrastLimitedAdaptiveHistogramEqualization"}
LAYERS = [pytest.param(keras_cv.layers, name, id=f"keras_cv-{name}") for name in CV] + [
    pytest.param(keras.layers, name, id=f"keras-{name}") for name in KERAS
]
# Of low contrast, so that none of the layers has nothing to do.
IMAGES = np.random.default_rng(0).integers(60, 180, (4, 32, 32, 3), dtype="uint8")
LABELS = np.arange(4) % 3


def make(package, name, arguments=None):
    if not hasattr(package, name):
        pytest.skip(f"this Keras has no {name}")
    if arguments is None:
        arguments = (CV if package is keras_cv.layers else KERAS)[name]
    return getattr(package, name)(**{key: value() if callable(value) else value for key, value in arguments.items()})


def build(foreign, jit):
    ours = RandomAffine(rotation=10), MixUp(0.2)
    model = kerazoo.mlp(input_shape=(32, 32, 3), classes=3, augmentation=[ours[0], *foreign, ours[1]])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Model doesn't support `jit_compile=True`")
        model.compile("sgd", loss, jit_compile=jit)
    return model


def test_every_public_layer_is_here():
    def public(package, folder):
        classes = inspect.getmembers(package, inspect.isclass)
        return {name for name, kind in classes if f"{folder}." in kind.__module__}

    assert public(keras_cv.layers, "layers.preprocessing") == {*CV, *CV_REFUSED, *CV_ABSTRACT}
    found = public(keras.layers, "image_preprocessing") - {"MaxNumBoundingBoxes"}  # boxes, no images
    assert {*KERAS, *KERAS_REFUSED} - found <= KERAS_LATER
    assert found <= {*KERAS, *KERAS_REFUSED}, "a new layer: try it"


# Some at a time, which is quicker by far.
SOME = [
    pytest.param(
        package, names[i : i + 6], id=f"{package.__name__.partition('.')[0]}-{'-'.join(names[i : i + 6])}",
        marks=pytest.mark.slow if package is keras_cv.layers and i else (),
    )
    for package, names in ((keras_cv.layers, list(CV)), (keras.layers, [n for n in KERAS if hasattr(keras.layers, n)]))
    for i in range(0, len(names), 6)
]


@pytest.mark.parametrize(("package", "names"), SOME)
def test_they_train_beside_ours_and_leave_inference_untouched(package, names):
    model = build([make(package, name) for name in names], jit=False)
    pixels = keras.Model(model.input, model.get_layer("normalize").input)
    np.testing.assert_array_equal(pixels(IMAGES, training=False), IMAGES)
    before = model.get_weights()[-1]
    assert np.isfinite(model.train_on_batch(IMAGES, LABELS))
    assert not np.array_equal(model.get_weights()[-1], before)


@pytest.mark.slow
@pytest.mark.parametrize(("package", "name"), LAYERS)
def test_asked_for_xla_it_trains_compiled_or_says_that_it_does_not(package, name):
    layer = make(package, name)
    model = build([layer], jit=True)
    inner = all(part.supports_jit for part in layer._flatten_layers())
    assert model.jit_compile == inner
    assert np.isfinite(model.train_on_batch(IMAGES, LABELS))


@pytest.mark.slow
@pytest.mark.parametrize(("package", "name"), [
    pytest.param(package, name, id=name)
    for package, folder in ((keras_cv.layers, "keras_cv"), (keras.layers, "keras"))
    for name in __import__("kerazoo.augment.foreign", fromlist=["NOT_FOR_XLA"]).NOT_FOR_XLA[folder]
])
def test_those_that_are_kept_from_xla_cannot_be_compiled(package, name):
    layer = make(package, name)
    model = build([layer], jit=False)
    layer.supports_jit = True
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=True)
    with pytest.raises(Exception, match="XLA|compile-time constant|dynamic tensor"):
        model.train_on_batch(IMAGES, LABELS)


@pytest.mark.parametrize(("package", "name", "arguments", "message"), [
    pytest.param(package, name, *refused, id=f"{package.__name__.partition('.')[0]}-{name}")
    for package, table in ((keras_cv.layers, CV_REFUSED), (keras.layers, KERAS_REFUSED))
    for name, refused in table.items()
])
def test_those_that_need_labels_or_change_sizes_are_refused(package, name, arguments, message):
    with pytest.raises(ValueError, match=message):
        build([make(package, name, arguments)], jit=False)


def test_a_pipeline_that_is_no_layer_is_refused():
    with pytest.raises(ValueError, match="augmentation must be a Keras layer"):
        build([keras_cv.layers.Augmenter([keras_cv.layers.GridMask()])], jit=False)


def test_a_layer_that_cannot_be_compiled_says_so_after_loading_too(tmp_path):
    model = build([keras.layers.RandomElasticTransform()], jit=False)
    model.save(tmp_path / "model.keras")
    loaded = kerazoo.load_model(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="Model doesn't support `jit_compile=True`"):
        loaded.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=True)
    assert np.isfinite(loaded.train_on_batch(IMAGES, LABELS))


@pytest.mark.slow
def test_inside_compose_they_run_as_in_the_list():
    row = Compose([RandomAffine(rotation=10), make(keras_cv.layers, "RandAugment"), MixUp(0.2)])
    model = build([row], jit="auto")
    assert not model.jit_compile
    assert np.isfinite(model.train_on_batch(IMAGES, LABELS))
    np.testing.assert_array_equal(row(IMAGES, training=False), IMAGES)
