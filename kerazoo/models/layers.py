"""The few layers and activations that the papers use and Keras lacks."""
import keras
import numpy as np
from keras import ops

from kerazoo import handover

register = keras.saving.register_keras_serializable(package="kerazoo")


@register
def scaled_tanh(x):
    """1.7159 tanh(2x/3), which maps ±1 to ±1 (LeCun et al. 1998, appendix A)."""
    return 1.7159 * ops.tanh(x * (2 / 3))


@register
class LeCunUniform(keras.initializers.Initializer):
    """Uniform in ±2.4 / fan-in (LeCun et al. 1998, appendix A)."""

    def __call__(self, shape, dtype=None):
        limit = 2.4 / np.prod(shape[:-1])
        return keras.random.uniform(shape, -limit, limit, dtype)


@register
class PaddedMaxPooling2D(keras.layers.MaxPooling2D):
    """Max pooling that pads as it is told, with values that never win; Keras pads symmetrically only in stride 1.

    Args:
        pool_size, strides: in pixels.
        margin: pixels of padding on each side, or (before, after).
    """

    def __init__(self, pool_size, strides, margin, **kwargs):
        super().__init__(pool_size, strides, **kwargs)
        self.margin = (margin, margin) if isinstance(margin, int) else tuple(margin)

    def call(self, x):
        margin = list(self.margin)
        # Not infinity, which some converters turn into NaN.
        low = float(np.finfo("float16").min)
        return super().call(ops.pad(x, [[0, 0], margin, margin, [0, 0]], constant_values=low))

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        return super().compute_output_shape((batch, *(side and side + sum(self.margin) for side in sides), channels))

    def get_config(self):
        config = super().get_config()
        return {key: config[key] for key in ("name", "trainable", "dtype", "pool_size", "strides")} | {
            "margin": self.margin
        }


@register
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each value by a power of the energy of its neighboring channels (Krizhevsky et al. 2012, section 3.3).

    Args:
        depth: number of channels summed over, the value's own in the middle.
        bias, alpha, beta: k, alpha and beta of the paper; alpha is not divided by the depth.
    """

    def __init__(self, depth=5, bias=2.0, alpha=1e-4, beta=0.75, **kwargs):
        super().__init__(**kwargs)
        self.depth, self.bias, self.alpha, self.beta = depth, bias, alpha, beta

    def call(self, x):
        # Squares of float16 activations overflow from 256 on.
        energy = ops.square(ops.cast(x, "float32"))
        before = (self.depth - 1) // 2
        energy = ops.pad(energy, [[0, 0], [0, 0], [0, 0], [before, self.depth - 1 - before]])
        channels = x.shape[-1]
        energy = sum(energy[..., i : i + channels] for i in range(self.depth))
        return ops.cast(ops.cast(x, "float32") * ops.power(self.bias + self.alpha * energy, -self.beta), x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "depth": self.depth, "bias": self.bias, "alpha": self.alpha, "beta": self.beta}


@register
class AdaptiveAveragePooling(keras.layers.Layer):
    """Averages over a fixed number of cells whatever the image size, where VGG and AlexNet meet their dense layers.

    Cell i of n covers the rows floor(i h / n) to ceil((i + 1) h / n), as in PyTorch; Keras has such a layer from
    3.13 on.

    Args:
        size: (rows, columns) of the output.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, x):
        rows, columns = (
            ops.cast(self.weights_of_cells(side, cells), x.dtype) for side, cells in zip(x.shape[1:3], self.size)
        )
        return ops.einsum("rh,cw,bhwk->brck", rows, columns, x)

    @staticmethod
    def weights_of_cells(side, cells):
        matrix = np.zeros((cells, side), "float32")
        for i in range(cells):
            start, stop = i * side // cells, -(-(i + 1) * side // cells)
            matrix[i, start:stop] = 1 / (stop - start)
        return matrix

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.size, input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@register
class PaddedShortcut(keras.layers.Layer):
    """Takes every stride-th pixel and adds channels of zeros: the free shortcut (He et al. 2015, option A).

    Args:
        filters: channels of the output; the new ones are split between front and back.
        stride: step in pixels.
    """

    def __init__(self, filters, stride, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.stride = filters, stride

    def call(self, x):
        new = self.filters - x.shape[-1]
        return ops.pad(x[:, :: self.stride, :: self.stride], [[0, 0], [0, 0], [0, 0], [new // 2, new - new // 2]])

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        return (batch, *(side and -(-side // self.stride) for side in sides), self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "stride": self.stride}


@register
class Subsampling2D(keras.layers.Layer):
    """Adds up windows of 2x2 pixels, times a trainable coefficient, plus a bias, a channel each (LeCun et al. 1998)."""

    def build(self, input_shape):
        channels = input_shape[-1]
        # The sum of four inputs: a coefficient of 1/4 starts as the plain average.
        self.coefficient = self.add_weight(
            shape=(channels,), initializer=keras.initializers.Constant(0.25), name="coefficient"
        )
        self.bias = self.add_weight(shape=(channels,), initializer="zeros", name="bias")

    def call(self, x):
        return 4 * ops.average_pool(x, 2, 2) * self.coefficient + self.bias

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        return (batch, *(side and side // 2 for side in sides), channels)


@register
class TableConv2D(keras.layers.Layer):
    """A convolution whose output channels each see only the input channels that a table names (LeCun et al. 1998, C3).

    Args:
        table: for each output channel, the input channels that it sees.
        size: side of the kernel in pixels; no padding.
    """

    def __init__(self, table, size, **kwargs):
        super().__init__(**kwargs)
        self.table, self.size = [list(row) for row in table], size

    def build(self, input_shape):
        pairs = [(i, o) for o, row in enumerate(self.table) for i in row]
        # Only the connections of the table have weights; a constant places them in the kernel of a full convolution.
        self.places = np.zeros((len(pairs), input_shape[-1], len(self.table)), "float32")
        for k, (i, o) in enumerate(pairs):
            self.places[k, i, o] = 1
        # The paper's initialization, each connection by the fan-in of the unit that it feeds.
        limits = np.array([2.4 / (self.size**2 * len(self.table[o])) for _, o in pairs], "float32")
        self.kernel = self.add_weight(
            shape=(self.size, self.size, len(pairs)), name="kernel",
            initializer=lambda shape, dtype: keras.random.uniform(shape, -1, 1, dtype) * ops.cast(limits, dtype),
        )
        self.bias = self.add_weight(shape=(len(self.table),), initializer="zeros", name="bias")

    def call(self, x):
        kernel = ops.tensordot(self.kernel, ops.cast(self.places, self.kernel.dtype), 1)
        return ops.conv(x, ops.cast(kernel, x.dtype)) + ops.cast(self.bias, x.dtype)

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        return (batch, *(side and side - self.size + 1 for side in sides), len(self.table))

    def get_config(self):
        return {**super().get_config(), "table": self.table, "size": self.size}


@register
class RadialBasis(keras.layers.Layer):
    """The negative squared distance from fixed codes, one code a class (LeCun et al. 1998, output layer).

    The paper's outputs are penalties, the smallest wins; their negatives serve as logits.

    Args:
        codes: (classes, features) of ±1.
    """

    def __init__(self, codes, activation=None, **kwargs):
        super().__init__(**kwargs)
        self.codes, self.activation = np.asarray(codes, "float32"), keras.activations.get(activation)

    def call(self, x):
        distance = ops.sum(ops.square(x[:, None, :] - ops.cast(self.codes, x.dtype)), axis=-1)
        return self.activation(-distance)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], len(self.codes))

    def get_config(self):
        return {
            **super().get_config(), "codes": self.codes.tolist(),
            "activation": keras.activations.serialize(self.activation),
        }


@register
class TrainingOnly(keras.layers.Layer):
    """Runs a layer in training alone; for foreign augmentation whose call knows no `training` argument."""

    inference_input = 0

    def __init__(self, layer, **kwargs):
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape):
        if not self.layer.built:
            self.layer.build(input_shape)

    def call(self, x, training=False):
        return ops.cast(self.layer(x), x.dtype) if training else x

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config.pop("layer")), **config)


@register
class AuxiliaryHeads(keras.layers.Layer):
    """Hands the logits on, and leaves those of the auxiliary heads for the loss of the same training step.

    At inference nothing depends on the auxiliary heads: a compiled step leaves them out.

    Args:
        weight: of each auxiliary head's loss.
    """

    # Which of the inputs decides on the output: `kerazoo.analyze` counts the others' layers as for training alone.
    inference_input = 0

    def __init__(self, weight, **kwargs):
        super().__init__(**kwargs)
        self.weight = weight

    def call(self, inputs, training=False):
        logits, *auxiliary = inputs
        handover.forget(self)
        if training:
            handover.leave(self, auxiliary)
        return logits

    def take_auxiliary(self):
        """(weight, logits of each auxiliary head) of the last training call, once; None if there was none."""
        auxiliary = handover.take(self)
        return auxiliary and (self.weight, auxiliary)

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "weight": self.weight}
