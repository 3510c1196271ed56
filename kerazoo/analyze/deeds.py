"""What the call of a layer does: which places it reads, what it multiplies, what its backward pass needs again."""
import dataclasses
import math

import keras

from kerazoo.analyze import fields

layers = keras.layers


@dataclasses.dataclass(frozen=True)
class Deed:
    """What one call of a layer does.

    Attributes:
        windows: one `fields.Window` an axis of the image; () where each place reads the same place alone; None where
            every unit reads all places.
        kernel, stride, dilation: (rows, columns), or None for layers without.
        padding: ((before, after) of the rows, (before, after) of the columns), or None for layers without.
        macs: multiply-accumulates for one image; None where they cannot be told.
        for_weights: what the gradient of the layer's own weights needs, as of any gradient.
        for_input: what any gradient through the layer needs: "input", "output", "work" (another tensor of the output's
            size), "mask" (one byte a value), or a number of further values.
        same: "memory" if the output is the input in another shape, or as it is; "inference" if it is so at inference
            alone; "size" if it can take the input's place, value by value; "" if it needs room of its own.
        scratch: values that the layer needs room for beside its input, before it puts out anything.
        merges: "" for one input; "join" for sums and concatenations; "gate" for products.
        left_out: what a unit reads besides, and receptive fields leave out.
        unseen: what cannot be told of the layer, in words.
    """

    windows: tuple | None = ()
    kernel: tuple | None = None
    stride: tuple | None = None
    padding: tuple | None = None
    dilation: tuple | None = None
    macs: int | None = 0
    for_weights: tuple = ()
    for_input: tuple = ()
    same: str = ""
    scratch: int = 0
    merges: str = ""
    left_out: str = ""
    unseen: str = ""


def unknown(operation):
    kind = type(operation).__name__
    weighted = any(len(weight.shape) > 1 for weight in getattr(operation, "weights", []))
    return Deed(
        macs=None, for_input=("input", "output"),
        unseen=f"what {kind} reads{', multiplies' if weighted else ''} and keeps",
    )


def layers_of(*names):
    """Those of Keras's layer classes that this version has."""
    return tuple(getattr(layers, name) for name in names if hasattr(layers, name))


# Convolutions and dense layers.


def convolution(layer, inputs, outputs):
    ((*sides, _),), (shape,) = inputs, outputs
    rank = len(sides)
    kernel, stride, dilation = tuple(layer.kernel_size), tuple(layer.strides), tuple(layer.dilation_rate)
    padding = padding_of(layer.padding, sides, kernel, stride, dilation)
    macs = math.prod(layer.kernel.shape) if hasattr(layer, "kernel") else sum(
        math.prod(weight.shape) for weight in (layer.depthwise_kernel, layer.pointwise_kernel)
    )
    separable = isinstance(layer, layers_of("SeparableConv1D", "SeparableConv2D"))
    return Deed(
        windows=tuple(
            fields.sliding(kernel[i], stride[i], padding[i][0], dilation[i]) for i in range(rank)
        ),
        kernel=kernel, stride=stride, padding=padding, dilation=dilation, macs=macs * math.prod(shape[:-1]),
        # A separable one keeps what lies between its two kernels as well.
        for_weights=("input", math.prod(layer.depthwise_kernel.shape[-2:]) * math.prod(shape[:-1])) if separable
        else ("input",),
        for_input=after(layer.activation),
    )


def padding_of(padding, sides, kernel, stride, dilation):
    if padding == "same":
        return tuple(map(fields.same_padding, sides, kernel, stride, dilation))
    if padding == "causal":
        return tuple(((k - 1) * d, 0) for k, d in zip(kernel, dilation))
    return ((0, 0),) * len(sides)


def transposed_convolution(layer, inputs, outputs):
    ((*sides, _),), ((*larger, _),) = inputs, outputs
    kernel, stride, dilation = tuple(layer.kernel_size), tuple(layer.strides), tuple(layer.dilation_rate)
    # It spreads each place over `extent` places and cuts what is too much, at the front the smaller half.
    padding = []
    for old, new, k, s, d in zip(sides, larger, kernel, stride, dilation):
        cut = max((old - 1) * s + (k - 1) * d + 1 - new, 0) if layer.padding == "same" else 0
        padding.append((cut // 2, cut - cut // 2))
    return Deed(
        windows=tuple(fields.spread(k, s, cut, d) for k, s, (cut, _), d in zip(kernel, stride, padding, dilation)),
        kernel=kernel, stride=stride, padding=tuple(padding), dilation=dilation,
        macs=math.prod(layer.kernel.shape) * math.prod(sides), for_weights=("input",),
        for_input=after(layer.activation),
    )


def dense(layer, inputs, outputs):
    ((*places, _),) = inputs
    # On a map, a dense layer is a 1x1 convolution.
    return Deed(
        windows=() if places else None, macs=math.prod(layer.kernel.shape) * math.prod(places), for_weights=("input",),
        for_input=after(layer.activation),
    )


# Pooling.


def pooling(layer, inputs, outputs):
    ((*sides, _),) = inputs
    kernel, stride = tuple(layer.pool_size), tuple(layer.strides)
    return pool(layer, kernel, stride, padding_of(layer.padding, sides, kernel, stride, (1,) * len(kernel)))


def pool(layer, kernel, stride, padding):
    largest = isinstance(layer, layers_of("MaxPooling1D", "MaxPooling2D", "MaxPooling3D"))
    return Deed(
        windows=tuple(fields.sliding(k, s, before) for k, s, (before, _) in zip(kernel, stride, padding)),
        kernel=kernel, stride=stride, padding=padding, dilation=(1,) * len(kernel),
        for_input=("input",) if largest else (),
    )


def global_pooling(layer, inputs, outputs):
    largest = "Max" in type(layer).__name__
    return Deed(windows=None, for_input=("input",) if largest else ())


def adaptive_pooling(layer, inputs, outputs):
    ((*old, _),), ((*new, _),) = inputs, outputs
    largest = "Max" in type(layer).__name__
    windows = None if set(new) == {1} else tuple(map(fields.cells, old, new))
    return Deed(windows=windows, for_input=("input",) if largest else ())


# Layers that move places.


def zero_padding(layer, inputs, outputs):
    padding = by_axis(layer.padding)
    return Deed(windows=tuple(fields.shifted(-before) for before, _ in padding), padding=padding)


def cropping(layer, inputs, outputs):
    cropping = by_axis(layer.cropping)
    return Deed(windows=tuple(fields.shifted(before) for before, _ in cropping))


def by_axis(pairs):
    """((before, after), ...), also from the single pair of a one-dimensional layer."""
    return tuple(tuple(pair) for pair in pairs) if isinstance(pairs[0], (tuple, list)) else (tuple(pairs),)


def upsampling(layer, inputs, outputs):
    ((*old, _),), ((*new, _),) = inputs, outputs
    interpolation = getattr(layer, "interpolation", "nearest")
    return Deed(windows=tuple(fields.resized(a, b, interpolation) for a, b in zip(old, new)))


def resizing(layer, inputs, outputs):
    if layer.crop_to_aspect_ratio or layer.pad_to_aspect_ratio or layer.antialias or (
        layer.interpolation not in ("nearest", *fields.REACH)
    ):
        return unknown(layer)
    return upsampling(layer, inputs, outputs)


def center_crop(layer, inputs, outputs):
    ((*old, _),), ((*new, _),) = inputs, outputs
    if any(a < b for a, b in zip(old, new)):
        return unknown(layer)
    return Deed(windows=tuple(fields.shifted((a - b) // 2) for a, b in zip(old, new)))


def flatten(layer, inputs, outputs):
    ((*sides, _),) = inputs
    return Deed(windows=() if math.prod(sides) == 1 else None, same="memory")


def reshape(layer, inputs, outputs):
    (old,), (new,) = inputs, outputs
    if old[:-1] == new[:-1] or math.prod(old[:-1]) == math.prod(new[:-1]) == 1:
        return Deed(same="memory")
    if math.prod(new[:-1]) == 1:
        return Deed(windows=None, same="memory")
    return dataclasses.replace(Deed(same="memory"), unseen=f"where {type(layer).__name__} puts each place")


def permute(layer, inputs, outputs):
    if tuple(layer.dims) == tuple(range(1, len(layer.dims) + 1)):
        return Deed(same="memory")
    return dataclasses.replace(unknown(layer), macs=0, for_input=(), unseen="where Permute puts each place")


# Layers that work place by place.

# What the gradient of an activation needs; the others need their input.
BY_OUTPUT = ("relu", "relu6", "sigmoid", "tanh", "softmax", "elu", "selu", "exponential", "hard_tanh", "hard_sigmoid")


def after(activation):
    """What the gradient through a layer's built-in activation needs beyond the layer itself."""
    name = getattr(activation, "__name__", type(activation).__name__)
    if activation is None or name == "linear":
        return ()
    return ("output",) if name in BY_OUTPUT else ("work",)


def activation(layer, inputs, outputs):
    function = getattr(layer, "activation", None)
    name = getattr(function, "__name__", "") if function else type(layer).__name__.lower()
    if name == "linear":
        return Deed(same="memory")
    if name == "relu" and getattr(layer, "negative_slope", 0):
        name = "leaky_relu"
    return Deed(same="size", for_input=("output",) if name in BY_OUTPUT else ("input",))


def softmax(layer, inputs, outputs):
    if layer.axis not in (-1, len(inputs[0])):
        return dataclasses.replace(activation(layer, inputs, outputs), windows=None)
    return activation(layer, inputs, outputs)


def prelu(layer, inputs, outputs):
    return Deed(same="size", for_weights=("input",), for_input=("input",))


def dropout(layer, inputs, outputs):
    return Deed(same="inference", for_input=("mask",) if getattr(layer, "rate", 1) else ())


def in_training_alone(layer, inputs, outputs):
    return Deed(same="inference")


def batch_norm(layer, inputs, outputs):
    # Frozen, it normalizes by stored figures: a fixed factor.
    return Deed(same="size", for_weights=("input",), for_input=("input",) if layer.trainable else ())


def norm(layer, inputs, outputs):
    axes = getattr(layer, "axis", -1)
    axes = [axes] if isinstance(axes, int) else list(axes)
    rank = len(inputs[0]) + 1
    wide = isinstance(layer, layers.GroupNormalization) or any(axis % rank != rank - 1 for axis in axes)
    return Deed(
        same="size", for_weights=("input",), for_input=("input",),
        left_out="statistics over the whole image" if wide and rank > 2 else "",
    )


def pointwise(layer, inputs, outputs):
    return Deed(same="size")


def scale(layer, inputs, outputs):
    return Deed(same="size", for_weights=("input",))


def identity(layer, inputs, outputs):
    return Deed(same="memory")


# Layers with several inputs.


def sum_of(layer, inputs, outputs):
    return Deed(merges="join", same="size", for_input=())


def extremum(layer, inputs, outputs):
    return Deed(merges="join", same="size", for_input=("input",))


def product(layer, inputs, outputs):
    return Deed(merges="gate", same="size", for_input=("input",))


def concatenation(layer, inputs, outputs):
    rank = len(outputs[0]) + 1
    if layer.axis % rank != rank - 1 and rank > 2:
        return dataclasses.replace(unknown(layer), macs=0, for_input=(), unseen="where Concatenate puts each place")
    return Deed(merges="join")


# kerazoo's own layers.


def padded_pooling(layer, inputs, outputs):
    kernel, stride = tuple(layer.pool_size), tuple(layer.strides)
    ((*sides, channels),) = inputs
    # The padded copy is what the gradient of the maximum reads, not the input.
    padded = math.prod(side + sum(layer.margin) for side in sides) * channels
    deed = pool(layer, kernel, stride, (tuple(layer.margin),) * len(kernel))
    return dataclasses.replace(deed, for_input=(padded, "output"), scratch=padded)


def padded_shortcut(layer, inputs, outputs):
    stride = (layer.stride, layer.stride)
    return Deed(
        windows=tuple(fields.sliding(1, step) for step in stride), kernel=(1, 1), stride=stride,
        padding=((0, 0), (0, 0)), dilation=(1, 1),
    )


def subsampling(layer, inputs, outputs):
    return dataclasses.replace(
        pool(layer, (2, 2), (2, 2), ((0, 0), (0, 0))), for_weights=("work",),
    )


def table_convolution(layer, inputs, outputs):
    kernel = (layer.size, layer.size)
    return Deed(
        windows=tuple(fields.sliding(size) for size in kernel), kernel=kernel, stride=(1, 1),
        padding=((0, 0), (0, 0)), dilation=(1, 1),
        macs=math.prod(layer.kernel.shape) * math.prod(outputs[0][:-1]), for_weights=("input",),
    )


def response_norm(layer, inputs, outputs):
    ((*sides, channels),) = inputs
    # The squares, padded by neighbors of the outer channels, and their sums; the gradient needs these and their power.
    squares = math.prod(sides) * (2 * channels + layer.depth - 1)
    return Deed(same="size", for_input=("input", "work", "work"), scratch=squares)


def radial_basis(layer, inputs, outputs):
    return Deed(windows=None, for_input=("input",))
