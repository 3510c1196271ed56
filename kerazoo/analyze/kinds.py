"""Which kind a layer or an operation is of, and so what it does."""
import keras

from kerazoo.analyze import deeds
from kerazoo.analyze.deeds import Deed, layers_of, unknown

layers = keras.layers


def describe(call, values):
    """The `Deed` of a call, whose inputs' and outputs' shapes are in `values`."""
    operation, kind = call.operation, type(call.operation)
    if isinstance(operation, layers.InputLayer):
        return Deed()
    if not isinstance(operation, layers.Layer):
        return describe_operation(call, values)
    if getattr(operation, "data_format", None) == "channels_first":
        raise ValueError(
            f"analyze reads images with the channels last; the layer {call.name} has data_format='channels_first'. "
            "Build the model with data_format='channels_last'."
        )
    if hasattr(operation, "inference_input"):
        return Deed(same="inference")  # augmentation, auxiliary heads: one input handed on
    author = next(base for base in kind.__mro__ if "call" in vars(base))
    own = OWN.get(keras.saving.get_registered_name(author))
    shapes = [values[number].shape for number in call.inputs], [values[number].shape for number in call.outputs]
    if own:
        return own(operation, *shapes)
    # A subclass with a call of its own may do anything.
    if author.__module__.startswith("keras.src.") and len(call.outputs) == 1:
        if kind.__name__ in APPLICATIONS:
            return APPLICATIONS[kind.__name__](operation, *shapes)
        for kinds, function in KINDS:
            if isinstance(operation, kinds):
                return function(operation, *shapes)
    return unknown(operation)


OWN = {
    "kerazoo>PaddedMaxPooling2D": deeds.padded_pooling, "kerazoo>PaddedShortcut": deeds.padded_shortcut,
    "kerazoo>AdaptiveAveragePooling": deeds.adaptive_pooling, "kerazoo>Subsampling2D": deeds.subsampling,
    "kerazoo>TableConv2D": deeds.table_convolution, "kerazoo>LocalResponseNormalization": deeds.response_norm,
    "kerazoo>RadialBasis": deeds.radial_basis,
}

# Layers that Keras Applications' ConvNeXt brings along.
APPLICATIONS = {"LayerScale": deeds.scale, "StochasticDepth": deeds.in_training_alone}


def ranks(*names):
    return layers_of(*(f"{name}{rank}D" for name in names for rank in (1, 2, 3)))


# Keras's augmentation is for training alone; those of this list that change the size work at inference as well.
AUGMENTATION = layers_of(
    "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom", "RandomContrast", "RandomBrightness",
    "RandomColorJitter", "RandomColorDegeneration", "RandomErasing", "RandomGaussianBlur", "RandomGrayscale",
    "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomSaturation", "RandomSharpness",
    "RandomShear", "RandAugment", "AugMix", "CutMix", "MixUp", "Solarization",
)

KINDS = (
    (ranks("Conv", "DepthwiseConv", "SeparableConv"), deeds.convolution),
    (layers_of("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), deeds.transposed_convolution),
    (ranks("MaxPooling", "AveragePooling"), deeds.pooling),
    (ranks("GlobalMaxPooling", "GlobalAveragePooling"), deeds.global_pooling),
    (ranks("AdaptiveMaxPooling", "AdaptiveAveragePooling"), deeds.adaptive_pooling),
    (ranks("ZeroPadding"), deeds.zero_padding), (ranks("Cropping"), deeds.cropping),
    (ranks("UpSampling"), deeds.upsampling),
    (layers.Resizing, deeds.resizing), (layers.CenterCrop, deeds.center_crop), (AUGMENTATION, deeds.in_training_alone),
    (layers.Dense, deeds.dense), (layers.Flatten, deeds.flatten), (layers.Reshape, deeds.reshape),
    (layers.Permute, deeds.permute),
    (layers.BatchNormalization, deeds.batch_norm),
    (layers_of("LayerNormalization", "GroupNormalization", "RMSNormalization", "UnitNormalization"), deeds.norm),
    (layers.Softmax, deeds.softmax), (layers.PReLU, deeds.prelu),
    (layers_of("Activation", "ReLU", "LeakyReLU", "ELU"), deeds.activation),
    (layers_of("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"), deeds.dropout),
    (layers_of("GaussianDropout", "GaussianNoise", "AlphaDropout", "ActivityRegularization"), deeds.in_training_alone),
    (layers.Identity, deeds.identity), (layers_of("Rescaling", "Normalization"), deeds.pointwise),
    (layers_of("Add", "Subtract", "Average"), deeds.sum_of), (layers_of("Maximum", "Minimum"), deeds.extremum),
    (layers.Multiply, deeds.product), (layers.Concatenate, deeds.concatenation),
)

# Operations of keras.ops, which stand in a model where it was written as an expression.

UNARY = {
    "Relu": ("output",), "Relu6": ("output",), "Sigmoid": ("output",), "Tanh": ("output",), "Elu": ("output",),
    "Selu": ("output",), "Exp": ("output",), "Sqrt": ("output",), "Silu": ("input",), "Gelu": ("input",),
    "LeakyRelu": ("input",), "Softplus": ("input",), "Softsign": ("input",), "HardSigmoid": ("input",),
    "HardSilu": ("input",), "Square": ("input",), "Absolute": ("input",), "Clip": ("input",), "Log": ("input",),
    "Negative": (),
}
BINARY = {
    "Add": deeds.sum_of, "Subtract": deeds.sum_of, "Average": deeds.sum_of, "Maximum": deeds.extremum,
    "Minimum": deeds.extremum, "Multiply": deeds.product, "Divide": deeds.product, "TrueDivide": deeds.product,
}


def describe_operation(call, values):
    kind, operation = type(call.operation).__name__, call.operation
    shapes = [values[number].shape for number in call.inputs], [values[number].shape for number in call.outputs]
    (shape, *others) = shapes[0]
    if not type(operation).__module__.startswith("keras.src.ops.") or len(call.outputs) != 1:
        return unknown(operation)
    if kind in UNARY:
        return Deed(same="size", for_input=UNARY[kind])
    if kind in BINARY:
        if others:
            return BINARY[kind](operation, *shapes)
        # With a constant: a number, or an array that broadcasts.
        return Deed(same="size") if shapes[1] == [shape] else unknown(operation)
    if kind == "Cast":
        return Deed(same="size")
    if kind in ("Mean", "Max", "Sum") and len(shape) > 2:
        axes = operation.axis if isinstance(operation.axis, (tuple, list)) else (operation.axis,)
        spatial = set(range(1, len(shape)))
        if None not in axes and {axis % (len(shape) + 1) for axis in axes} == spatial:
            return Deed(windows=None, for_input=("input",) if kind == "Max" else ())
    if kind == "Concatenate" and operation.axis in (-1, len(shape)):
        return Deed(merges="join")
    if kind == "Reshape":
        return deeds.reshape(operation, *shapes)
    return unknown(operation)
