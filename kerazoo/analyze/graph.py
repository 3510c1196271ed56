"""A model as a flat list of calls: nested models opened, layers that are used twice called twice."""
import dataclasses
import operator

import keras

from kerazoo.deep_graphs import deep_graphs
from kerazoo.networks import nodes_by_depth, taken_apart


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor between two calls: its shape without the batch, and its dtype."""

    shape: tuple
    dtype: str


@dataclasses.dataclass(frozen=True)
class Call:
    """One use of a layer or operation.

    Attributes:
        name: that of the layer, behind those of the models that hold it: "backbone/conv1"; "conv1 (use 2)" where the
            layer works a second time.
        operation: the Keras layer or operation.
        inputs, outputs: numbers of `Graph.values`.
        arguments: what it was called with, Keras's record.
    """

    name: str
    operation: object
    inputs: tuple
    outputs: tuple
    arguments: object


@dataclasses.dataclass
class Graph:
    """All calls of a model, each behind those that it depends on; its inputs and outputs are numbers of `values`."""

    calls: list
    values: list
    inputs: list
    outputs: list


def flatten(model, input_shape=None):
    """The `Graph` of a model, on images of `input_shape` where the model leaves their size open."""
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if input_shape is not None:
        shapes = fixed_shapes(model, shapes, input_shape)
    if any(None in shape for shape in shapes):
        raise ValueError(
            f"analyze needs a fixed image size; {model.name} takes {next(s for s in shapes if None in s)}. Give one, "
            "such as input_shape=(224, 224, 3), or build the model with an input_shape without None."
        )
    network = taken_apart(model, nodes_by_depth)
    values = [Value(shape, tensor.dtype) for shape, tensor in zip(shapes, model.inputs)]
    calls, within = [], {}  # casts are taken for what they cast
    with deep_graphs():
        for call in network.calls:
            reads = tuple(within.get(number, number) for number in call.inputs)
            if call.node is None:
                within[call.outputs[0]] = reads[0]
                values.append(values[reads[0]])
                continue
            if reads:
                values += outputs_of(call.node, [values[number] for number in reads])
            calls.append(Call(call.numbered, call.operation, reads, call.outputs, call.node.arguments))
    outputs = [within.get(number, number) for number in network.outputs]
    return Graph(calls, values, list(network.inputs), outputs)


def fixed_shapes(model, shapes, wanted):
    """The model's input shapes with its open sides closed as wanted."""
    wanted = read_shape(wanted)
    images = [shape for shape in shapes if len(shape) > 1]
    if len(images) != 1:
        raise ValueError(
            f"input_shape is for models with one image as input; {model.name} has {len(images)}. Build it with fixed "
            "sizes instead."
        )
    fits = len(wanted) == len(images[0]) and all(
        own in (None, side) for own, side in zip(images[0], wanted)
    )
    if not fits:
        raise ValueError(
            f"{model.name} takes images of {images[0]}, and input_shape={wanted!r} is not one of these. Leave "
            "input_shape out where the model's size is fixed, or build the model for that size."
        )
    return [wanted if shape is images[0] else shape for shape in shapes]


def read_shape(shape):
    """An `input_shape` as a tuple of integers."""
    try:
        sides = tuple(operator.index(side) for side in shape)
    except TypeError:
        sides = ()
    if not sides or min(sides) < 1:
        raise ValueError(
            f"input_shape must be (height, width, channels) in pixels, such as (224, 224, 3); got {shape!r}."
        )
    return sides


def outputs_of(node, values):
    """The `Value` of each output of a call for these inputs."""
    known = [tuple(tensor.shape[1:]) for tensor in node.input_tensors] == [value.shape for value in values]
    specs = node.outputs
    if not known or any(None in tensor.shape[1:] for tensor in specs):
        # The layer stands in a model that leaves the size open.
        tensors = {
            id(tensor): keras.KerasTensor((None, *value.shape), value.dtype)
            for tensor, value in zip(node.input_tensors, values)
        }
        args, kwargs = node.arguments.fill_in(tensors)
        try:
            specs = keras.tree.flatten(node.operation.compute_output_spec(*args, **kwargs))
        except Exception as error:
            shapes = ", ".join(str(value.shape) for value in values)
            raise ValueError(
                f"The layer {node.operation.name} ({type(node.operation).__name__}) does not take {shapes}: {error} "
                "Give another input_shape."
            ) from None
    return [Value(tuple(spec.shape[1:]), spec.dtype) for spec in specs]


def at_inference(graph):
    """The places of the calls that the outputs depend on when nothing is trained.

    A layer that looks at some of its inputs in training alone names the other one as its `inference_input`.
    """
    made_by = {number: place for place, call in enumerate(graph.calls) for number in call.outputs}
    calls, values, waiting = set(), set(), list(graph.outputs)
    while waiting:
        number = waiting.pop()
        if number in values:
            continue
        values.add(number)
        place = made_by[number]
        if place not in calls:
            calls.add(place)
            waiting += needed(graph.calls[place])
    return calls


def needed(call):
    """The inputs that a call reads at inference."""
    chosen = getattr(call.operation, "inference_input", None)
    return call.inputs if chosen is None or not call.inputs else (call.inputs[chosen],)
