"""What Keras's and KerasCV's own augmentation layers are like, as far as it matters beside ours."""

import keras

# They mix labels, in a form of their own, or change the number of images.
FOREIGN_MIXERS = ("MixUp", "CutMix", "FourierMix", "Mosaic", "RepeatedAugmentation")
# They use what TensorFlow's XLA does not have, and do not say so themselves.
NOT_FOR_XLA = {
    "keras": ("Equalization", "RandomElasticTransform"),
    "keras_cv": (
        "AugMix", "Equalization", "GridMask", "JitteredResize", "RandAugment", "RandomApply",
        "RandomAugmentationPipeline", "RandomChannelShift", "RandomChoice", "RandomCrop", "RandomCropAndResize",
        "RandomJpegQuality", "RandomRotation", "RandomShear", "RandomTranslation", "RandomZoom",
    ),
}  # fmt: skip


def origin(layer):
    """The package that the layer's class comes from."""
    return type(layer).__module__.partition(".")[0]


def compiles(layer):
    """Whether XLA takes the layer, as far as we know."""
    return keras.backend.backend() != "tensorflow" or type(layer).__name__ not in NOT_FOR_XLA.get(origin(layer), ())


def size_after(layer, height, width):
    """(height, width) of what the layer makes of images; as they came where the layer does not say."""
    try:
        return layer.compute_output_shape((None, height, width, 3))[1:3]
    except NotImplementedError:  # most of KerasCV's
        return height, width


def call_foreign(layer, images):
    """What the layer makes of images in training."""
    options = {"training": True} if layer._call_has_training_arg else {}
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.executing_eagerly():
            # KerasCV asks tensors for their truth, which AutoGraph has to translate; a training step keeps it out.
            return tf.function(lambda pixels: layer(pixels, **options), autograph=True)(images)
    return layer(images, **options)
