"""Answers to single questions about convolutions, without a model."""
import math
import numbers
import operator
import random
import typing

import keras

from kerazoo.analyze import fields


class ReceptiveField(typing.NamedTuple):
    """What the units behind some layers see along one axis.

    Attributes:
        size: pixels that one unit sees.
        jump: pixels between neighboring units.
        start: the middle of what the first unit sees, in pixels from the image's edge; that of the first pixel is 0.5.
    """

    size: int
    jump: int
    start: float


def conv_output_size(size, kernel, stride=1, padding=0, dilation=1):
    """How many places a convolution or pooling puts out: floor((size + 2 padding - extent) / stride) + 1.

    The extent of a kernel is dilation * (kernel - 1) + 1.

    Args:
        size: of the input, in pixels; or (height, width).
        kernel: its side in pixels, from 1; or (rows, columns) for a (height, width).
        stride: step in pixels, from 1; or (vertical, horizontal).
        padding: pixels on each side; "valid": none; "same": as many as give ceil(size / stride) places; or (vertical,
            horizontal).
        dilation: pixels from one weight of the kernel to the next, from 1; or (vertical, horizontal).

    Returns:
        An integer; or (height, width) for a (height, width).

    Raises:
        ValueError: if an argument is out of its range, or the kernel is larger than the padded input.

    Example:
        >>> kerazoo.conv_output_size(32, 5)
        28
        >>> kerazoo.conv_output_size((64, 64), 3, stride=2, padding=1)
        (32, 32)

    Reference:
        Dumoulin, Visin: A guide to convolution arithmetic for deep learning, 2016, https://arxiv.org/abs/1603.07285
    """
    if isinstance(size, (tuple, list)):
        if len(size) != 2:
            raise ValueError(f"size must be an integer or (height, width), without channels; got {size!r}.")
        sides = [
            pair if isinstance(pair, (tuple, list)) else (pair, pair) for pair in (kernel, stride, padding, dilation)
        ]
        if any(len(pair) != 2 for pair in sides):
            raise ValueError(
                f"For a size (height, width), the other arguments are one number or two; got kernel={kernel!r}, "
                f"stride={stride!r}, padding={padding!r}, dilation={dilation!r}."
            )
        return tuple(conv_output_size(side, *(pair[i] for pair in sides)) for i, side in enumerate(size))
    size, kernel = whole("size", size, 1), whole("kernel", kernel, 1)
    stride, dilation = whole("stride", stride, 1), whole("dilation", dilation, 1)
    extent = dilation * (kernel - 1) + 1
    if padding == "same":
        return -(-size // stride)
    margin = 0 if padding == "valid" else whole("padding", padding, 0, ', "same" or "valid"')
    if extent > size + 2 * margin:
        raise ValueError(
            f"A kernel of {kernel} pixels{f' with dilation {dilation}, {extent} pixels wide,' * (dilation > 1)} does "
            f"not fit {size} pixels with padding {margin}. Use a smaller kernel, larger images, or padding of at least "
            f"{-(-(extent - size) // 2)}."
        )
    return (size + 2 * margin - extent) // stride + 1


def receptive_field(layers):
    """What one unit behind a chain of convolutions and poolings sees of the image, along one axis.

    A layer widens the field by (kernel - 1) * dilation steps of the jump in front of it; its own stride multiplies the
    jump, and so widens the layers behind it alone. For a model with branches, see `kerazoo.analyze`.

    Args:
        layers: a list with one entry a layer, first to last: (kernel, stride), (kernel, stride, padding) or (kernel,
            stride, padding, dilation), a dictionary of these names, or one number, the kernel. What is left out is 1,
            and the padding 0; "same" is taken as a padding of (kernel - 1) * dilation // 2.

    Returns:
        A `ReceptiveField`, (size, jump, start) in pixels.

    Raises:
        ValueError: if an entry is none of these, or a number is out of its range.

    Example:
        >>> kerazoo.receptive_field([(3, 1), (3, 1), (3, 2)])
        ReceptiveField(size=7, jump=2, start=3.5)
        >>> kerazoo.receptive_field([3, 3, 3, {"kernel": 2, "stride": 2}]).size
        8

    Reference:
        Araujo, Norris, Sim: Computing Receptive Fields of Convolutional Neural Networks, Distill 2019,
        https://distill.pub/2019/computing-receptive-fields/
    """
    if not isinstance(layers, (list, tuple)):
        raise ValueError(
            f"receptive_field takes a list of layers such as [(3, 1), (2, 2)], (kernel, stride) each; got {layers!r}. "
            "For a model, use kerazoo.analyze(model)."
        )
    if isinstance(layers, tuple) and layers and all(isinstance(one, numbers.Integral) for one in layers):
        raise ValueError(
            f"receptive_field takes a list with an entry for each layer; got {layers!r}, which may be one layer, "
            f"[{layers!r}], or {len(layers)} kernels, {list(layers)!r}."
        )
    field = fields.PIXEL
    for place, layer in enumerate(layers, 1):
        field = fields.see(field, fields.sliding(*read_layer(layer, place)))
    return ReceptiveField(field.size, int(field.jump), field.start)


def read_layer(layer, place):
    """(kernel, stride, padding in front, dilation) of an entry of `receptive_field`."""
    names = ("kernel", "stride", "padding", "dilation")
    if isinstance(layer, dict) and "kernel" in layer and set(layer) <= set(names):
        given = layer
    elif isinstance(layer, (tuple, list)) and 1 <= len(layer) <= 4:
        given = dict(zip(names, layer))
    elif isinstance(layer, numbers.Integral) and not isinstance(layer, bool):
        given = {"kernel": layer}
    else:
        raise ValueError(
            f"Layer {place} must be (kernel, stride), with or without padding and dilation, or a dictionary of some "
            f"of {', '.join(names)}; got {layer!r}."
        )
    kernel, stride, dilation = (
        whole(f"the {name} of layer {place}", given.get(name, 1), 1) for name in ("kernel", "stride", "dilation")
    )
    padding = given.get("padding", 0)
    if padding == "same":
        padding = (kernel - 1) * dilation // 2
    elif padding == "valid":
        padding = 0
    return kernel, stride, whole(f"the padding of layer {place}", padding, 0, ', "same" or "valid"'), dilation


COUNTED = {
    "conv": ("kernel", "inputs", "outputs"), "depthwise_conv": ("kernel", "inputs"),
    "separable_conv": ("kernel", "inputs", "outputs"), "conv_transpose": ("kernel", "inputs", "outputs"),
    "dense": ("inputs", "outputs"), "batch_norm": ("inputs",), "layer_norm": ("inputs",), "group_norm": ("inputs",),
}


def count_parameters(
    layer, input_shape=None, *, kernel=None, inputs=None, outputs=None, groups=1, bias=True, trainable_only=False
):
    """How many parameters a layer or a model has.

    Args:
        layer: "conv", "depthwise_conv", "separable_conv", "conv_transpose", "dense", "batch_norm", "layer_norm" or
            "group_norm"; or a Keras layer or model.
        input_shape: what a Keras layer that is not built would be called with, without the batch, such as (32, 32, 3);
            the layer itself stays unbuilt. None: it is built, or given by its kind.
        kernel: of a convolution, its side in pixels or (rows, columns).
        inputs: channels, or values, that go in.
        outputs: channels, or values, that come out; not for norms and depthwise convolutions, which put out as many.
        groups: of a "conv": each output sees inputs / groups channels.
        bias: whether there is one a channel of the output; a norm has a factor and an offset always.
        trainable_only: leave out what is not trained: the moving mean and variance of a batch norm.

    Returns:
        An integer.

    Raises:
        ValueError: if the kind is unknown, or a number is missing or out of its range.

    Example:
        >>> kerazoo.count_parameters("conv", kernel=3, inputs=3, outputs=64)
        1792
        >>> kerazoo.count_parameters("dense", inputs=3072, outputs=64)
        196672
        >>> kerazoo.count_parameters(keras.layers.Conv2D(64, 3), (32, 32, 3))
        1792
    """
    if isinstance(layer, keras.layers.Layer):
        if input_shape is not None:
            layer = built(layer, input_shape)
        if not layer.built:
            raise ValueError(
                f"{layer.name} is not built, and has no parameters yet. Say what goes in, "
                "count_parameters(layer, (height, width, channels)), or call it on images first."
            )
        return sum(math.prod(weight.shape) for weight in (layer.trainable_weights if trainable_only else layer.weights))
    if not isinstance(layer, str) or layer not in COUNTED:
        raise ValueError(
            f"count_parameters takes a Keras layer or model, or one of {', '.join(map(repr, COUNTED))}; got {layer!r}."
        )
    if input_shape is not None:
        raise ValueError(
            f"input_shape is for Keras layers; got {input_shape!r} for {layer!r}. Write count_parameters({layer!r}, "
            f"{', '.join(f'{name}=...' for name in COUNTED[layer])})."
        )
    given = {"kernel": kernel, "inputs": inputs, "outputs": outputs}
    for name, value in given.items():
        if (value is None) == (name in COUNTED[layer]):
            raise ValueError(
                f"{layer!r} takes {' and '.join(COUNTED[layer])}; {name} is "
                + ("missing." if value is None else f"{value!r}, and has no meaning here.")
            )
    inputs, groups = whole("inputs", inputs, 1), whole("groups", groups, 1)
    if groups > 1 and layer != "conv":
        raise ValueError(f"groups is for 'conv'; got groups={groups} for {layer!r}. Leave it out.")
    if layer.endswith("norm"):
        return inputs * (4 if layer == "batch_norm" and not trainable_only else 2)
    if layer == "depthwise_conv":
        return area(kernel) * inputs + inputs * bool(bias)
    outputs = whole("outputs", outputs, 1)
    if inputs % groups or outputs % groups:
        raise ValueError(
            f"groups must divide inputs and outputs; got groups={groups} with inputs={inputs}, outputs={outputs}."
        )
    biases = outputs * bool(bias)
    if layer == "dense":
        return inputs * outputs + biases
    if layer == "separable_conv":
        return area(kernel) * inputs + inputs * outputs + biases
    return area(kernel) * (inputs // groups) * outputs + biases


def built(layer, input_shape):
    """A copy of the layer with the weights that it has for such an input."""
    wanted = f"input_shape must be that of one input of {layer.name}, without the batch, such as (32, 32, 3)"
    sides = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else (input_shape,)
    if any(side is not None and (isinstance(side, bool) or not isinstance(side, numbers.Integral)) for side in sides):
        raise ValueError(f"{wanted}; got {input_shape!r}.")
    drawn = random.getstate()  # from which Keras takes the seeds of layers
    try:
        copy = layer.__class__.from_config(layer.get_config())
    except Exception as error:  # whatever a layer of the user's or a Lambda raises
        raise ValueError(
            f"{layer.name} cannot be copied to be tried on an input ({type(error).__name__}). Call it on an input of "
            "the shape, and count then, without input_shape."
        ) from None
    finally:
        random.setstate(drawn)
    try:
        with keras.StatelessScope(initialize_variables=False):
            copy(keras.KerasTensor((None, *sides)))
    except (ValueError, TypeError) as error:  # as Keras puts it
        raise ValueError(
            f"{wanted}, and {layer.name} must take one; got {input_shape!r}: {str(error).strip().splitlines()[0]}"
        ) from None
    finally:
        random.setstate(drawn)
    return copy


def area(kernel):
    sides = kernel if isinstance(kernel, (tuple, list)) else (kernel, kernel)
    if len(sides) != 2:
        raise ValueError(f"kernel must be an integer or (rows, columns); got {kernel!r}.")
    return math.prod(whole("kernel", side, 1, " or (rows, columns)") for side in sides)


def whole(name, value, least, otherwise=""):
    """The value as an integer of at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise ValueError(f"{name} must be an integer from {least} on{otherwise}; got {value!r}.")
    return number
