"""What each layer of a model costs."""
import dataclasses
import math

import keras

from kerazoo.callable_module import make_callable


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer: its name, kind, output shape without the batch, parameters and multiply-accumulates.

    Layers for training alone, such as auxiliary heads, have parameters but no multiply-accumulates.
    """

    name: str
    kind: str
    output_shape: tuple
    parameters: int
    trainable: int
    macs: int


@dataclasses.dataclass(frozen=True)
class Analysis:
    """The layers of a model and their totals; `str()` is a table for the terminal."""

    name: str
    rows: list

    @property
    def parameters(self):
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self):
        return sum(row.trainable for row in self.rows)

    @property
    def macs(self):
        return sum(row.macs for row in self.rows)

    def __str__(self):
        cells = [("layer", "kind", "output", "parameters", "MACs")] + [
            (row.name, row.kind, " x ".join("?" if side is None else str(side) for side in row.output_shape),
             f"{row.parameters:,}" if row.parameters else "", f"{row.macs:,}" if row.macs else "")
            for row in self.rows
        ]
        widths = [max(len(line[column]) for line in cells) for column in range(5)]
        lines = [
            "  ".join(cell.ljust(width) if column < 3 else cell.rjust(width)
                      for column, (cell, width) in enumerate(zip(line, widths))).rstrip()
            for line in cells
        ]
        rule = "-" * max(map(len, lines))
        total = (f"{self.name}: {self.trainable:,} trainable parameters, {self.parameters - self.trainable:,} others, "
                 f"{self.macs / 1e6:,.4g} million MACs an image")
        return "\n".join([lines[0], rule, *lines[1:], rule, total])


def analyze(model):
    """Count each layer's parameters and multiply-accumulates.

    Args:
        model: a built functional `keras.Model` on images, (batch, height, width, channels), of fixed size.

    Returns:
        An `Analysis`: its `rows`, and `parameters`, `trainable` and `macs` in total. Multiply-accumulates are those of
        convolutions and dense layers for one image at inference, without biases, as the papers count them.

    Raises:
        ValueError: if the model is not functional, its image size is not fixed, or it holds something that cannot be
            counted: a model as a layer, a layer used twice, or one with kernels of a kind unknown here.

    Example:
        >>> print(kerazoo.analyze(kerazoo.lenet5()))
    """
    if not hasattr(model, "layers") or not getattr(model, "inputs", None):
        raise ValueError(f"analyze takes a built functional keras.Model; got {model!r}.")
    if any(None in tensor.shape[1:] for tensor in model.inputs):
        raise ValueError(
            f"analyze needs a fixed image size; {model.name} takes {model.inputs[0].shape[1:]}. Build it with an "
            "input_shape without None."
        )
    # Keras counts a layer's uses in all models together; its configuration knows those in this one.
    layers = model.get_config()["layers"]
    uses = {entry["config"]["name"]: len(entry.get("inbound_nodes", [0])) for entry in layers}
    working = at_inference(model)
    return Analysis(
        model.name, [row(layer, uses.get(layer.name, 1), layer in working) for layer in model.layers]
    )


def at_inference(model):
    """The layers that the outputs depend on when nothing is trained.

    A layer that looks at some of its inputs in training alone names the other one as its `inference_input`.
    """
    found, waiting = set(), list(model.outputs)
    while waiting:
        layer, node, _ = waiting.pop()._keras_history
        if layer not in found:
            found.add(layer)
            inputs = layer._inbound_nodes[node].input_tensors
            waiting += [inputs[layer.inference_input]] if hasattr(layer, "inference_input") else inputs
    return found


def row(layer, uses=1, works=True):
    if isinstance(layer, keras.Model) or uses > 1 or not hasattr(layer.output, "shape"):
        reason = "is a model itself" if isinstance(layer, keras.Model) else (
            f"is used {uses} times" if uses > 1 else "has several outputs")
        raise ValueError(f"The layer {layer.name} {reason}, which cannot be counted yet. Analyze its parts.")
    shape = tuple(layer.output.shape[1:])
    kernel = getattr(layer, "kernel", None)
    if kernel is None and any(len(weight.shape) > 1 for weight in layer.weights) and not is_activation(layer):
        raise ValueError(
            f"The layer {layer.name} ({type(layer).__name__}) multiplies in a way that cannot be counted yet; known "
            "are convolutions and dense layers."
        )
    # Every weight of a convolution's kernel works once at each output position; of a dense layer's, once; of a
    # transposed convolution's, once at each input position.
    transposed = isinstance(layer, (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose))
    positions = layer.input.shape[1:-1] if transposed else shape[:-1]
    macs = math.prod(kernel.shape) * math.prod(positions) if kernel is not None and works else 0
    return Row(layer.name, type(layer).__name__, shape, count(layer.weights), count(layer.trainable_weights), macs)


def is_activation(layer):
    """One slope a channel or pixel has the shape of a kernel, and is none."""
    return isinstance(layer, keras.layers.PReLU)


def count(weights):
    return sum(math.prod(weight.shape) for weight in weights)


make_callable(__name__, analyze)
