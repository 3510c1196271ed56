"""What happens inside of a model on images: its calls of layers, a part of them run, what its scores mean."""
import keras
import numpy as np
from keras import ops

from kerazoo.networks import has_graph, named, taken_apart
from kerazoo.registry import nearest
from kerazoo.visualize.figures import check_array, check_count

CHUNK = 8  # images that run through a network at once
PASS_ON = (keras.layers.Identity, keras.layers.Reshape, keras.layers.Flatten, keras.layers.Dropout)


def network_of(model, what):
    """Take a functional or sequential model to pieces.

    Args:
        model: a `keras.Model` with one input of images, (batch, height, width, channels).
        what: the function's name, for messages.

    Returns:
        A `Network`.

    Raises:
        ValueError: if its layers cannot be followed, or it does not take images.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"{what} takes a keras.Model; got {type(model).__name__}.")
    if not has_graph(model):
        if not model.built:
            raise ValueError(
                f"The model {model.name!r} has not been built, so that it has no layers to follow. Begin it with "
                "keras.Input(shape=(height, width, channels)), or call model.build((None, height, width, channels))."
            )
        raise ValueError(
            f"{model.name!r} is a subclassed model ({type(model).__name__}) with a call of its own, so that {what} "
            "cannot see which layers it runs. Build it as a functional model: keras.Model(inputs, outputs)."
        )
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in model.inputs)
        raise ValueError(
            f"{what} is for models of images, one input (batch, height, width, channels); {model.name!r} takes "
            f"{shapes}."
        )
    if any(getattr(layer, "data_format", None) == "channels_first" for layer in model.layers):
        raise ValueError(f"{what} takes models with the channels last; {model.name!r} has channels_first layers.")
    return taken_apart(model)


def ending(network, what):
    """What a classifier's scores have gone through.

    Returns:
        ("softmax", the call that applies it), the same with "sigmoid", or (None, None) for logits.

    Raises:
        ValueError: if the model does not give one score a class.
    """
    shapes = [tuple(tensor.shape) for tensor in network.model.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][1] is None:
        raise ValueError(
            f"{what} is for classifiers, one output (batch, classes); {network.model.name!r} gives "
            f"{', '.join(map(str, shapes))}."
        )
    makers = {number: call for call in network.calls for number in call.outputs}
    call = makers.get(network.outputs[0])
    while call is not None and (
        call.node is None or isinstance(call.operation, PASS_ON) or is_linear_activation(call.operation)
    ):
        call = makers.get(call.inputs[0])
    kind = activation_name(call.operation) if call is not None else ""
    return (kind, call) if kind in ("softmax", "sigmoid") else (None, None)


def is_linear_activation(operation):
    return isinstance(operation, keras.layers.Activation) and activation_name(operation) == "linear"


def activation_name(operation):
    """The activation that a layer or an operation applies last, such as "softmax"."""
    activation = getattr(operation, "activation", operation)
    if isinstance(activation, keras.Operation):
        return type(activation).__name__.lower()
    return getattr(activation, "__name__", type(activation).__name__)


def to_probabilities(outputs, kind):
    """One probability a class, float32 (n, classes), from what a classifier gives; of one sigmoid, both classes'."""
    outputs = np.asarray(outputs, "float32")
    if outputs.shape[-1] == 1:
        yes = outputs if kind == "sigmoid" else 1 / (1 + np.exp(-outputs))
        return np.concatenate([1 - yes, yes], -1)
    if kind:
        return outputs
    powers = np.exp(outputs - outputs.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def find_call(network, name):
    """The call of that name, or the last one of the stage or block of that name.

    Raises:
        ValueError: if there is none; the nearest names are suggested.
    """
    calls = network.calls
    call = named(calls, name) if isinstance(name, str) else None
    if call is not None:
        return call
    names = list(dict.fromkeys(call.name for call in calls))
    stages = list(dict.fromkeys(call.name.rpartition("/")[2].split("_")[0] for call in calls))
    raise ValueError(
        f"{network.model.name} has no layer, block or stage {name!r}{nearest(name, names + stages)} Its layers begin "
        f"with: {', '.join(stages[:40])}{', …' if len(stages) > 40 else ''}."
    )


def map_calls(network):
    """The calls that give maps of features: behind a convolution, and not made of one place alone."""
    behind, found = set(), []
    for call in network.calls:
        if behind.intersection(call.inputs) or any(len(weight.shape) == 4 for weight in call.weights):
            behind.update(call.outputs)
            if call.is_map:
                found.append(call)
    return found


def images_for(network, images, name="images"):
    """Images as a model takes them: an array (n, height, width, channels), at most 64 of them.

    Raises:
        ValueError: if they do not fit.
    """
    images = check_array(images, name)
    images = images[None] if images.ndim == 3 else images
    wanted = tuple(network.model.inputs[0].shape[1:])
    fits = images.ndim == 4 and 0 not in images.shape and all(
        side in (None, got) for side, got in zip(wanted, images.shape[1:])
    )
    if not fits:
        shape = ", ".join("any" if side is None else str(side) for side in wanted)
        raise ValueError(
            f"{name}: got shape {images.shape}, wanted (n, {shape}), as {network.model.name} takes them. Resize the "
            "images, such as by kerazoo.data.load(..., image_size=...)."
        )
    if images.dtype.kind not in "buif":
        try:
            images = images.astype("float32")  # bfloat16 and its like
        except (TypeError, ValueError):
            raise ValueError(f"{name}: got {images.dtype}, wanted pixels as numbers.") from None
    check_count(images)
    if not np.isfinite(images).all():
        raise ValueError(f"{name}: some pixels are NaN or infinite. Repair those images, or leave them out.")
    return images


def as_input(network, images):
    """Images as a tensor of the type that the model takes; floats where it takes integers stay floats."""
    dtype = keras.backend.standardize_dtype(network.model.inputs[0].dtype)
    return ops.convert_to_tensor(images, dtype=dtype if "float" in dtype else "float32")


def numbers_of(tensor):
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")))
