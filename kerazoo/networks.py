"""Models as lists of calls of layers, those inside of nested models included, and parts of them run."""
import collections
import dataclasses
import functools
import itertools

import keras

from kerazoo.deep_graphs import nodes_behind


def has_graph(model):
    """Whether a model is a graph of layers that can be walked: functional or sequential, built, its `call` Keras's."""
    for base in type(model).__mro__:
        if base is keras.Sequential or base.__name__ == "Functional":
            return bool(getattr(model, "inputs", None))
        if "call" in vars(base):
            return False
    return False


def nodes_of(model):
    """Keras's notes of a model's calls, branch after branch, each behind those that it depends on."""
    return nodes_behind(model.outputs, until=model.inputs)


def nodes_by_depth(model):
    """The same in the order in which Keras runs them, that of `model.summary()`, with the model's input layers."""
    inner = getattr(model, "_functional", None) or model  # that of a sequential one
    order = {id(operation): i for i, operation in enumerate(inner._operations)}
    return [
        node for depth in sorted(inner._nodes_by_depth, reverse=True)
        for node in sorted(inner._nodes_by_depth[depth], key=lambda node: order[id(node.operation)])
    ]


def in_order(model, inputs):
    """What a functional or sequential model is called with, as a list with one entry for each of its inputs.

    Keras takes the entries of a dictionary by the inputs' names where the model itself was not made of a dictionary;
    flattened, they would stand in the order of their keys.
    """
    inner = getattr(model, "_functional", None) or model
    if isinstance(inputs, dict) and not isinstance(inner._inputs_struct, dict):
        return [inputs[tensor.name] for tensor in inner.inputs]
    return keras.tree.flatten(inputs)


def given_to(node):
    """The tensors that a nested model was called with, one for each of its inputs."""
    arguments = node.arguments
    return in_order(node.operation, arguments.args[0] if arguments.args else arguments.kwargs.get("inputs"))


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer or operation; a layer that is used twice has two.

    Attributes:
        name: that of the layer, behind those of the models that it is inside of, such as "resnet50/conv1".
        use: 1 for the layer's first call in the model, 2 for its second.
        operation: the layer.
        node: what it was called with, as Keras keeps it; None for a cast to another type.
        inputs, outputs: which tensors it takes and gives: numbers, the same wherever the same tensor is meant.
        specs: Keras's symbols of its outputs.
    """

    name: str
    use: int
    operation: object
    node: object
    inputs: tuple
    outputs: tuple
    specs: tuple

    @property
    def numbered(self):
        """The name, and which use it is of a layer that is used again."""
        return f"{self.name} (use {self.use})" if self.use > 1 else self.name

    @property
    def shapes(self):
        return tuple(spec.shape for spec in self.specs)

    @property
    def weights(self):
        return list(getattr(self.operation, "weights", ()))

    @property
    def is_map(self):
        """Whether it gives a map of features (batch, height, width, channels) of more than one place."""
        return len(self.shapes) == 1 and len(self.shapes[0]) == 4 and tuple(self.shapes[0][1:3]) != (1, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A model as a list of calls, in an order in which they can run; its own inputs and outputs are numbers."""

    model: keras.Model
    calls: list
    inputs: tuple
    outputs: tuple


def taken_apart(model, nodes=nodes_of):
    """A model that has a graph as a `Network`, the models inside of it opened.

    Args:
        model: the model.
        nodes: `nodes_of`; or `nodes_by_depth`, which makes calls of the model's input layers, too.
    """
    numbers, calls, uses = itertools.count(), [], collections.Counter()

    def add(name, operation, node, inputs, specs):
        uses[id(operation)] += 1
        outputs = tuple(next(numbers) for _ in specs)
        calls.append(Call(name, uses[id(operation)], operation, node, tuple(inputs), outputs, tuple(specs)))
        return outputs

    def opens(node, known):
        if not has_graph(node.operation):
            return False
        given = given_to(node)
        return len(given) == len(node.operation.inputs) and all(id(tensor) in known for tensor in given)

    def follow(model, prefix, given):
        known = dict(zip(map(id, model.inputs), given))
        for node in nodes(model):
            operation, name = node.operation, prefix + node.operation.name
            if node.is_input:
                if not prefix:
                    own = tuple(known[id(tensor)] for tensor in node.outputs)
                    calls.append(Call(name, 1, operation, node, (), own, tuple(node.outputs)))
                continue
            if opens(node, known):
                inside = []
                for outer, inner in zip(given_to(node), operation.inputs):
                    number = known[id(outer)]
                    if outer.dtype != inner.dtype:
                        # Keras casts at the door of each model.
                        cast = functools.partial(keras.ops.cast, dtype=inner.dtype)
                        (number,) = add(name, cast, None, [number], [inner])
                    inside.append(number)
                outputs = follow(operation, f"{name}/", inside)
            else:
                outputs = add(name, operation, node, [known[id(tensor)] for tensor in node.input_tensors], node.outputs)
            known.update(zip(map(id, node.outputs), outputs))
        return [known[id(tensor)] for tensor in model.outputs]

    inputs = tuple(next(numbers) for _ in model.inputs)
    return Network(model, calls, inputs, tuple(follow(model, "", inputs)))


def named(calls, name):
    """The last call of that name, or of the stage or block of that name; None if there is none."""
    def own(call):
        return call.name.rpartition("/")[2]

    for matches in (
        lambda call: call.name == name, lambda call: own(call) == name,
        lambda call: call.name.startswith((f"{name}_", f"{name}/")), lambda call: own(call).startswith(f"{name}_"),
    ):
        if found := [call for call in calls if matches(call)]:
            return found[-1]
    return None


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
        values.update(zip(call.outputs, outputs_of(call, [values[number] for number in call.inputs], call is bare)))
        for number in call.inputs:
            left[number] -= 1
            if not left[number] and number not in wanted:
                values.pop(number, None)  # a deep network's maps would fill the memory
    return [values[number] for number in wanted]


def outputs_of(call, inputs, bare):
    """What a call gives for these tensors, at inference."""
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
