"""Receptive fields by brute force: where the gradient of a unit with respect to the image is not zero."""
import keras
import numpy as np


@keras.saving.register_keras_serializable(package="tests")
class First(keras.layers.Layer):
    """The first of several inputs: in place of a gate, which sees the whole image."""

    def call(self, inputs):
        return inputs[0]

    def compute_output_shape(self, shapes):
        return shapes[0]


@keras.saving.register_keras_serializable(package="tests")
class Same(keras.layers.Layer):
    """What comes in, in place of activations, norms and dropout, whatever they were called with."""

    def call(self, inputs, mask=None, training=None):
        return inputs

    def compute_output_shape(self, shape):
        return shape


def thin(model):
    """The same windows on one channel each, with weights of one, so that no two paths cancel and no path ends.

    Activations, norms and dropout do nothing; maxima, through which one place alone has a gradient, are averages.
    """
    def clone(layer):
        config = {**layer.get_config(), "dtype": "float64"}
        kind = type(layer)
        ones = {name: "ones" for name in config if name.endswith("initializer")}
        if isinstance(layer, keras.layers.InputLayer):
            return kind.from_config({**layer.get_config(), "dtype": "float64"})
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            return kind.from_config({**config, **ones, "activation": None, "use_bias": False})
        if hasattr(layer, "kernel_size"):
            groups = {"groups": 1} if "groups" in config else {}
            return kind.from_config({**config, **ones, **groups, "filters": 1, "activation": None, "use_bias": False})
        if kind.__name__ == "PaddedMaxPooling2D":
            name = layer.name
            return keras.Sequential([
                keras.layers.ZeroPadding2D((layer.margin, layer.margin), dtype="float64"),
                keras.layers.AveragePooling2D(layer.pool_size, layer.strides, dtype="float64"),
            ], name=name)
        if isinstance(layer, keras.layers.MaxPooling2D):
            return keras.layers.AveragePooling2D.from_config(config)
        if kind.__name__ == "PaddedShortcut":
            return kind.from_config({**config, "filters": 1})
        if isinstance(layer, keras.layers.Multiply):
            return First(name=layer.name, dtype="float64")
        moving = (
            keras.layers.AveragePooling2D, keras.layers.GlobalAveragePooling2D, keras.layers.ZeroPadding2D,
            keras.layers.Cropping2D, keras.layers.UpSampling2D, keras.layers.Add, keras.layers.Concatenate,
            keras.layers.Reshape,
        )
        if isinstance(layer, moving) or kind.__name__ == "AdaptiveAveragePooling":
            return kind.from_config(config)
        return Same(name=layer.name, dtype="float64")

    return keras.models.clone_model(model, clone_function=clone)


def spans(model, name=None, units=1):
    """What some units near the middle of a feature map see.

    Returns:
        {(row, column) of the unit: ((top, bottom), (left, right)) pixels}, of the diagonal through the middle.
    """
    import tensorflow as tf

    output = model.get_layer(name).output if name else model.outputs[0]
    features = keras.Model(model.inputs, output)
    image = tf.ones((1, *model.inputs[0].shape[1:]), "float64")
    rows, columns = features.output_shape[1:3]
    found = {}
    for step in range(min(units, rows - rows // 2, columns - columns // 2)):
        unit = (rows // 2 + step, columns // 2 + step)
        with tf.GradientTape() as tape:
            tape.watch(image)
            value = tf.reduce_sum(features(image, training=False)[:, unit[0], unit[1]])
        places = np.argwhere(tape.gradient(value, image).numpy()[0].sum(-1) > 0)
        found[unit] = tuple(map(tuple, np.stack([places.min(0), places.max(0)], 1).tolist()))
    return found
