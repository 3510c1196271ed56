"""The calls of layers that make up a model, nested models' included, and running a part of them on images."""
import collections
import dataclasses
import itertools

import keras
import numpy as np
from keras import ops

from kerazoo.deep_graphs import nodes_behind
from kerazoo.registry import nearest
from kerazoo.visualize.figures import check_array, check_count

CHUNK = 8  # images that run through a network at once
PASS_ON = (keras.layers.Identity, keras.layers.Reshape, keras.layers.Flatten, keras.layers.Dropout)


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer or operation; a layer that is used twice has two.

    Attributes:
        name: that of the layer, behind those of the models that it is inside of, such as "resnet50/conv1".
        operation: the layer.
        node: what it was called with, as Keras keeps it; None for a cast to another type.
        inputs, outputs: which tensors it takes and gives: numbers, the same wherever the same tensor is meant.
        shapes: of its outputs.
    """

    name: str
    operation: object
    node: object
    inputs: tuple
    outputs: tuple
    shapes: tuple

    @property
    def weights(self):
        return list(getattr(self.operation, "weights", ()))

    @property
    def is_map(self):
        """Whether it gives a map of features (batch, height, width, channels) of more than one place."""
        return len(self.shapes) == 1 and len(self.shapes[0]) == 4 and tuple(self.shapes[0][1:3]) != (1, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A model as a list of calls, in the order in which they can run."""

    model: keras.Model
    calls: list
    inputs: tuple
    outputs: tuple


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
    if not getattr(model, "inputs", None):
        if not model.built:
            raise ValueError(
                f"The model {model.name!r} has not been built, so that it has no layers to follow. Begin it with "
                "keras.Input(shape=(height, width, channels)), or call model.build((None, height, width, channels))."
            )
        raise ValueError(
            f"{model.name!r} is a subclassed model ({type(model).__name__}), whose calls Keras does not record, so "
            f"that {what} cannot see inside. Build it as a functional model: keras.Model(inputs, outputs)."
        )
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in model.inputs)
        raise ValueError(
            f"{what} is for models of images, one input (batch, height, width, channels); {model.name!r} takes "
            f"{shapes}."
        )
    if any(getattr(layer, "data_format", None) == "channels_first" for layer in model.layers):
        raise ValueError(f"{what} takes models with the channels last; {model.name!r} has channels_first layers.")
    numbers, calls = itertools.count(), []
    first = tuple(next(numbers) for _ in model.inputs)
    last = follow(model, "", first, numbers, calls)
    return Network(model, calls, first, tuple(last))


def follow(model, prefix, given, numbers, calls):
    """Append the calls inside of a model that gets the tensors `given`; return its outputs."""
    known = dict(zip(map(id, model.inputs), given))
    for node in nodes_behind(model.outputs, until=model.inputs):
        operation = node.operation
        inputs = tuple(known[id(tensor)] for tensor in node.input_tensors)
        name = prefix + operation.name
        inner = getattr(operation, "inputs", None) if isinstance(operation, keras.Model) else None
        if inner and len(inner) == len(inputs):
            # Keras casts at the door of each model.
            for k, (outer, tensor) in enumerate(zip(node.input_tensors, inner)):
                if outer.dtype != tensor.dtype:
                    made = (next(numbers),)
                    calls.append(Call(name, cast(tensor.dtype), None, inputs[k : k + 1], made, (tensor.shape,)))
                    inputs = (*inputs[:k], *made, *inputs[k + 1 :])
            outputs = tuple(follow(operation, f"{name}/", inputs, numbers, calls))
        else:
            outputs = tuple(next(numbers) for _ in node.outputs)
            calls.append(Call(name, operation, node, inputs, outputs, tuple(tensor.shape for tensor in node.outputs)))
        known.update(zip(map(id, node.outputs), outputs))
    return [known[id(tensor)] for tensor in model.outputs]


def cast(dtype):
    return lambda tensor: ops.cast(tensor, dtype)


def run(network, wanted, values, bare=None):
    """Compute tensors of a network, at inference.

    Args:
        network: a `Network`.
        wanted: the numbers of the tensors.
        values: {number: tensor} of those to begin with.
        bare: a call whose activation is left out.

    Returns:
        A list of tensors, one for each number.
    """
    waiting, chosen = set(wanted) - set(values), []
    for call in reversed(network.calls):
        if waiting.intersection(call.outputs):
            chosen.append(call)
            waiting.update(set(call.inputs) - set(values))
    values, left = dict(values), collections.Counter(number for call in chosen for number in call.inputs)
    for call in reversed(chosen):
        values.update(zip(call.outputs, one(call, [values[number] for number in call.inputs], call is bare)))
        for number in call.inputs:
            left[number] -= 1
            if not left[number] and number not in wanted:
                values.pop(number, None)  # a deep network's maps would fill the memory
    return [values[number] for number in wanted]


def one(call, inputs, bare):
    """The outputs of a call."""
    if call.node is None:
        return [call.operation(*inputs)]
    operation = call.operation
    args, kwargs = call.node.arguments.fill_in(dict(zip(map(id, call.node.input_tensors), inputs)))
    if getattr(operation, "_call_has_training_arg", False):
        kwargs["training"] = False
    if not bare:
        return keras.tree.flatten(operation(*args, **kwargs))
    if not getattr(operation, "weights", None):
        return inputs  # nothing but the activation
    kept = operation.activation
    operation.activation = keras.activations.linear
    try:
        return keras.tree.flatten(operation(*args, **kwargs))
    finally:
        operation.activation = kept


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
    def own(call):
        return call.name.rpartition("/")[2]

    calls = network.calls
    if isinstance(name, str):
        for matches in (
            lambda call: call.name == name, lambda call: own(call) == name,
            lambda call: call.name.startswith((f"{name}_", f"{name}/")), lambda call: own(call).startswith(f"{name}_"),
        ):
            if found := [call for call in calls if matches(call)]:
                return found[-1]
    names = list(dict.fromkeys(call.name for call in calls))
    stages = list(dict.fromkeys(own(call).split("_")[0] for call in calls))
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


def slope(function, x):
    """The gradient of ``function(x)``, one score an image, on x; None where there is no way from one to the other.

    Raises:
        ValueError: if the backend computes none.
    """
    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            total = tf.reduce_sum(function(x))
        try:
            return tape.gradient(total, x)
        except LookupError:  # an operation without a gradient
            return None
    if backend == "jax":
        import jax

        return jax.grad(lambda x: function(x).sum())(x)
    if backend == "torch":
        import torch

        x = x.detach().requires_grad_(True)
        return torch.autograd.grad(function(x).sum(), x, allow_unused=True)[0]
    raise ValueError(f"Gradients are computed on TensorFlow, JAX and PyTorch; Keras runs on {backend} here.")
