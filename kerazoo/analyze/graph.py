"""A model as a flat list of calls: nested models opened, layers that are used twice called twice."""
import dataclasses

import keras

from kerazoo.deep_graphs import deep_graphs


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor between two calls: its shape without the batch, and its dtype."""

    shape: tuple
    dtype: str


@dataclasses.dataclass(frozen=True)
class Call:
    """One use of a layer or operation.

    Attributes:
        name: that of the layer, behind those of the models that hold it: "backbone/conv1".
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

    def add(self, shape, dtype):
        self.values.append(Value(tuple(shape), dtype))
        return len(self.values) - 1


def has_graph(model):
    """Whether a model is functional or sequential, and built."""
    return isinstance(model, keras.Model) and hasattr(graph_of(model), "_nodes_by_depth")


def graph_of(model):
    """The functional model inside of a sequential one; any other model itself."""
    return getattr(model, "_functional", None) or model


def flatten(model, input_shape=None):
    """The `Graph` of a model, on images of `input_shape` where the model leaves their size open."""
    tensors = graph_of(model).inputs
    shapes = [tuple(tensor.shape[1:]) for tensor in tensors]
    if input_shape is not None:
        shapes = fixed_shapes(model, shapes, input_shape)
    if any(None in shape for shape in shapes):
        raise ValueError(
            f"analyze needs a fixed image size; {model.name} takes {next(s for s in shapes if None in s)}. Give one: "
            "analyze(model, input_shape=(224, 224, 3)), or build the model with an input_shape without None."
        )
    graph = Graph([], [], [], [])
    graph.inputs = [graph.add(shape, tensor.dtype) for shape, tensor in zip(shapes, tensors)]
    with deep_graphs():
        graph.outputs = walk(graph, model, graph.inputs, "", {})
    return graph


def fixed_shapes(model, shapes, wanted):
    """The model's input shapes with its open sides closed as wanted."""
    images = [shape for shape in shapes if len(shape) > 1]
    try:
        wanted = tuple(int(side) for side in wanted)
    except (TypeError, ValueError):
        raise ValueError(
            f"input_shape must be (height, width, channels), such as (224, 224, 3); got {wanted!r}."
        ) from None
    if len(images) != 1:
        raise ValueError(
            f"input_shape is for models with one image as input; {model.name} has {len(images)}. Build it with fixed "
            "sizes instead."
        )
    fits = len(wanted) == len(images[0]) and min(wanted) > 0 and all(
        own in (None, side) for own, side in zip(images[0], wanted)
    )
    if not fits:
        raise ValueError(
            f"{model.name} takes images of {images[0]}, and input_shape={wanted!r} is not one of these. Leave "
            "input_shape out where the model's size is fixed, or build the model for that size."
        )
    return [wanted if shape is images[0] else shape for shape in shapes]


def walk(graph, model, inputs, prefix, uses):
    """Add the calls inside of a model; return the numbers of its outputs."""
    inner = graph_of(model)
    numbers = {id(tensor): number for tensor, number in zip(inner.inputs, inputs)}
    order = {id(operation): i for i, operation in enumerate(inner._operations)}
    for depth in sorted(inner._nodes_by_depth, reverse=True):
        for node in sorted(inner._nodes_by_depth[depth], key=lambda node: order[id(node.operation)]):
            if node.is_input:
                if not prefix:
                    own = tuple(numbers[id(tensor)] for tensor in node.outputs)
                    graph.calls.append(Call(node.operation.name, node.operation, (), own, node.arguments))
                continue
            read = [numbers[id(tensor)] for tensor in node.input_tensors]
            operation = node.operation
            if has_graph(operation) and len(graph_of(operation).inputs) == len(read):
                made = walk(graph, operation, read, f"{prefix}{operation.name}/", uses)
            else:
                made = [graph.add(shape, dtype) for shape, dtype in outputs_of(node, [graph.values[i] for i in read])]
                name = f"{prefix}{operation.name}"
                uses[name] = uses.get(name, 0) + 1
                again = f" (use {uses[name]})" if uses[name] > 1 else ""
                graph.calls.append(Call(name + again, operation, tuple(read), tuple(made), node.arguments))
            numbers |= {id(tensor): number for tensor, number in zip(node.outputs, made)}
    return [numbers[id(tensor)] for tensor in inner.outputs]


def outputs_of(node, values):
    """(shape without the batch, dtype) of each output for these inputs."""
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
    return [(spec.shape[1:], spec.dtype) for spec in specs]


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
