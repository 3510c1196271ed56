"""Which layer follows which in a functional model, and where its stages are."""
import dataclasses

import keras

from kerazoo.deep_graphs import nodes_behind
from kerazoo.registry import nearest


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of a layer or operation in a model's graph."""

    operation: object
    inputs: tuple  # the tensors that it takes
    outputs: tuple
    plain: bool  # called with one tensor and nothing else

    @property
    def name(self):
        return self.operation.name

    @property
    def weights(self):
        return getattr(self.operation, "weights", [])


def steps(model):
    """All steps of the model, each behind those that it depends on.

    Raises:
        ValueError: if the model has no graph.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        got = f"the {type(model).__name__} {model.name!r}" if isinstance(model, keras.Model) else repr(model)
        raise ValueError(
            f"Wanted a functional or sequential keras.Model that is built, so that its layers have an order; got {got}."
        )
    return [
        Step(node.operation, tuple(node.input_tensors), tuple(node.output_tensors), is_plain(node))
        for node in nodes_behind(keras.tree.flatten(model.outputs))
    ]


def is_plain(node):
    """Whether the operation was called with one tensor and nothing else."""
    return len(node.arguments.args) == 1 and len(node.input_tensors) == 1 and not any(
        value is not None for key, value in node.arguments.kwargs.items() if key not in ("training", "mask")
    )


def layers_of(layer):
    """A model or layer, then all layers inside of it, at any depth, each once."""
    seen, waiting = set(), [layer]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        # The public list is one of models alone: it leaves out layers inside of layers.
        waiting += reversed(getattr(one, "_layers", ()))


def weighted(order):
    """Those of the steps whose operations have weights."""
    return [step for step in order if step.weights]


def of_stage(model, order, name):
    """The steps of that layer, or of the stage or block whose layers' names begin with that.

    Raises:
        ValueError: if there is none.
    """
    if isinstance(name, str):
        found = [step for step in order if step.name == name]
        found = found or [step for step in order if step.name.startswith(f"{name}_")]
        if found:
            return found
    names = [step.name for step in order]
    prefixes = list(dict.fromkeys(part.split("_")[0] for part in names))
    raise ValueError(
        f"{model.name} has no stage or layer {name!r}{nearest(name, prefixes + names)} "
        f"Its layers begin with: {', '.join(prefixes)}."
    )


def before(order, ends):
    """The steps that `ends` depend on, without them unless one depends on the other."""
    made_by = {id(tensor): step for step in order for tensor in step.outputs}
    found, waiting = {}, list(ends)
    while waiting:
        for tensor in waiting.pop().inputs:
            step = made_by[id(tensor)]
            if id(step) not in found:
                found[id(step)] = step
                waiting.append(step)
    return [step for step in order if id(step) in found]


def heads(order):
    """The last steps with kernels on the way to each output: a classifier's, and not a norm behind it."""
    kernels = [step for step in weighted(order) if any(len(weight.shape) > 1 for weight in step.weights)]
    kernels = kernels or weighted(order)
    inner = {id(step) for step in before(order, kernels)}
    return [step for step in kernels if id(step) not in inner]


def stages(model, order=None):
    """The model's stages from input to output: {what their layers' names begin with: layers with weights}.

    Raises:
        ValueError: if the names do not tell stages apart.
    """
    found, last = {}, None
    for step in weighted(order or steps(model)):
        prefix = step.name.split("_")[0]
        if prefix != last and prefix in found:
            raise ValueError(
                f"The layers' names of {model.name} do not say which stages it has: those that begin with {prefix!r} "
                "do not follow one another. Name the stages or layers yourself."
            )
        last = prefix
        if step.operation not in found.setdefault(prefix, []):
            found[prefix].append(step.operation)
    return found
