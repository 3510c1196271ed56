"""Augmentation layers, ours and others, in front of a network."""
import keras
from keras import ops

from kerazoo.augment.foreign import FOREIGN_MIXERS, call_foreign, compiles, origin
from kerazoo.models import layers

# Those of Keras that know the argument `training` and do not mind it.
NEVER_OFF = ("AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization", "Equalization")


def augment(x, augmentation):
    """Put the layers in front of the network; return the tensor and whether one of them mixes labels."""
    stages = [] if augmentation is None else augmentation
    stages = list(stages) if isinstance(stages, (list, tuple)) else [stages]
    for layer in stages:
        # KerasCV's Augmenter is a layer by its class, and was never made one.
        if not isinstance(layer, keras.layers.Layer) or not hasattr(layer, "_call_has_training_arg"):
            got = type(layer).__name__ if isinstance(layer, keras.layers.Layer) else repr(layer)
            raise ValueError(
                "augmentation must be a Keras layer or a list of Keras layers, such as kerazoo.augment.RandomAffine(); "
                f"got {got}."
            )
        check_mixing(layer)
        if origin(layer) == "keras_cv" and type(layer).__name__ == "RandomAspectRatio":
            raise ValueError(
                f"{layer.name} changes the size of the images, and the network takes one size. Put "
                "kerazoo.augment.RandomAffine in its place, or use it in tf.data before the images are resized."
            )
        if not layer._call_has_training_arg or not compiles(layer) or type(layer).__name__ in NEVER_OFF:
            layer = Foreign(layer, name=f"{layer.name}_in_training")
        # Keras's augmentation layers are active unless told otherwise; training=True in fit overrides this.
        before, x = x, layer(x, training=False)
        changed = layer.compute_output_shape(before.shape)[1:3] if hasattr(layer, "output_size") else x.shape[1:3]
        if changed != before.shape[1:3]:
            raise ValueError(
                f"{layer.name} changes the size of the images from {before.shape[1:3]} to {changed}, in training "
                "alone, and the network takes one size. Crop in tf.data, or give the layer the network's size."
            )
    return x, any(hands_out_mixing(layer) for layer in stages)


@layers.register
class Foreign(layers.TrainingOnly):
    """Runs a foreign layer in training alone, and as it expects to be run under TensorFlow."""

    def __init__(self, layer, **kwargs):
        super().__init__(layer, **kwargs)
        if not compiles(layer):
            # Then `compile` chooses jit_compile=False, or warns and goes on without.
            layer.supports_jit = False

    def call(self, x, training=False):
        return ops.cast(call_foreign(self.layer, x), x.dtype) if training else x


def hands_out_mixing(layer):
    """Whether a layer may mix labels: by its method, not by its class; `OneOf` and `Compose` know only when made."""
    return hasattr(layer, "take_mixing") and getattr(layer, "mixes", True)


def check_mixing(layer):
    """Labels are mixed by `take_mixing`; a layer that mixes images without it would train on wrong labels."""
    inner = getattr(layer, "layers", [])
    hidden = not hasattr(layer, "take_mixing")
    if hidden and (type(layer).__name__ in FOREIGN_MIXERS or any(hands_out_mixing(part) for part in inner)):
        raise ValueError(
            f"{layer.name} mixes images, and the loss would not hear of it. Put a layer of kerazoo.augment, such as "
            "kerazoo.augment.MixUp, into the list itself."
        )
    for part in inner:
        check_mixing(part)
