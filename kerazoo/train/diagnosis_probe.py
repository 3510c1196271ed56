"""What happens inside a model on a fixed sample: activations, gradients, units that are never active.

The sample goes through the graph layer by layer: batch norms take its own statistics, as in training, and dropout and
augmentation do nothing, so that one measurement differs from the next by the weights alone. Nothing in the model
changes, no moving average and no seed.
"""
import math

import keras
import numpy as np
from keras import ops

from kerazoo.deep_graphs import deep_graphs, nodes_behind
from kerazoo.networks import given_to, has_graph, in_order
from kerazoo.train import state as states
from kerazoo.train.diagnosis_data import classes_of

NO_KERNELS = ("bias", "gamma", "beta", "alpha", "embeddings")
SCALE = 1024.0  # of the loss, where gradients are computed in float16, in which small ones are zero


def foreign_size(model, images):
    """(size of the images, size that the model takes) where they are not the same; None where they are."""
    shape = tuple(getattr(images, "shape", ()))[1:]
    wanted = tuple(model.inputs[0].shape[1:]) if len(model.inputs) == 1 else ()
    alike = len(shape) != len(wanted) or all(size in (None, given) for size, given in zip(wanted, shape))
    return None if alike else (shape, wanted)


def order(model):
    """Keras's notes of the calls that the outputs depend on at inference, each behind what it needs.

    A layer that looks at some of its inputs in training alone names the other one as its `inference_input`.
    """
    return nodes_behind(keras.tree.flatten(model.outputs), read=needed)


def needed(node):
    if hasattr(node.operation, "inference_input"):
        return [node.input_tensors[node.operation.inference_input]]
    return list(node.input_tensors)


def walk(model, inputs, visit, prefix=""):
    """Take the inputs through the graph; visit(name, operation, inputs, outputs) after each operation."""
    values = {id(tensor): value for tensor, value in zip(
        keras.tree.flatten(model.inputs), keras.tree.flatten(inputs)
    )}
    for node in order(model):
        operation = node.operation
        if not node.input_tensors:
            continue
        if hasattr(operation, "inference_input"):
            outputs = values[id(needed(node)[0])]
        else:
            name = f"{prefix}{operation.name}"
            if has_graph(operation):
                given = [values.get(id(one), one) for one in given_to(node)]
                outputs = walk(operation, given, visit, f"{name}/")
            else:
                args, kwargs = node.arguments.fill_in(values)
                if getattr(operation, "_call_has_training_arg", False):
                    kwargs = {**kwargs, "training": isinstance(operation, keras.layers.BatchNormalization)}
                outputs = operation(*args, **kwargs)
                visit(name, operation, args, outputs)
        for tensor, value in zip(node.output_tensors, keras.tree.flatten(outputs)):
            values[id(tensor)] = value
    return [values[id(tensor)] for tensor in keras.tree.flatten(model.outputs)]


def operations(model, prefix=""):
    """[(name, operation)] in order, models inside of models by their parts, each layer at its first use."""
    found, seen = [], set()
    for node in order(model):
        operation = node.operation
        if not node.input_tensors or hasattr(operation, "inference_input") or id(operation) in seen:
            continue
        seen.add(id(operation))
        name = f"{prefix}{operation.name}"
        found += operations(operation, f"{name}/") if has_graph(operation) else [(name, operation)]
    return found


def kernel_of(operation):
    """The largest weight of a layer that multiplies, if it is trained."""
    kernels = [
        weight for weight in getattr(operation, "trainable_weights", [])
        if len(weight.shape) > 1 and weight.path.split("/")[-1] not in NO_KERNELS
    ]
    return max(kernels, key=lambda weight: math.prod(weight.shape), default=None)


def rectifies(operation):
    """Whether a layer ends in an activation that is zero below zero, such as ReLU."""
    if isinstance(operation, keras.layers.ReLU):
        return not operation.negative_slope
    function = getattr(operation, "activation", None)
    if isinstance(function, keras.layers.Layer):
        return rectifies(function)
    if not callable(function):
        return type(operation).__name__ in ("Relu", "Relu6")
    try:
        low, lower, high = np.asarray(ops.convert_to_numpy(function(ops.convert_to_tensor([-1.0, -8.0, 1.0]))))
    except Exception:  # whatever a function of the user's makes of three numbers
        return False
    return bool(low == 0 and lower == 0 and high > 0)


class Probe:
    """Measures a model on a sample.

    Args:
        model: a compiled functional or sequential model.
        images, labels: the sample.

    Attributes:
        kernels: {layer: its kernel, if it is trained} in the order of the graph.
        rectifiers: layers whose units can be zero on the whole sample.
    """

    def __init__(self, model, images, labels):
        self.model = model
        with deep_graphs():
            self.parts = operations(model)
        self.kernels = {name: kernel for name, one in self.parts if (kernel := kernel_of(one)) is not None}
        self.weighted = {
            name for name, one in self.parts
            if any(len(weight.shape) > 1 and weight.path.split("/")[-1] not in NO_KERNELS
                   for weight in getattr(one, "weights", []))
        }
        self.rectifiers = {name for name, one in self.parts if rectifies(one)}
        # Keras's Normalization holds means and deviations, and stands in front of the network.
        self.entered = next((name for name, one in self.parts if getattr(one, "weights", [])
                             and not isinstance(one, keras.layers.Normalization)), None)
        self.images, self.labels = keras.tree.map_structure(np.asarray, images), np.asarray(labels)
        self.loss = loss_of(model, self.labels)
        self.trained, self.others = list(model.trainable_variables), list(model.non_trainable_variables)
        places = {id(variable): place for place, variable in enumerate(self.trained)}
        # Of layers with kernels, all that is trained.
        self.groups = {
            name: [places[id(weight)] for weight in one.trainable_weights]
            for name, one in self.parts if name in self.kernels
        }
        self.half = any(getattr(one, "compute_dtype", None) == "float16" for _, one in self.parts)
        self.scale, self.made = SCALE if self.half else 1.0, {}

    def __call__(self, everything=False):
        """Measure.

        Args:
            everything: whether to look at what every operation puts out, and not those with kernels alone.

        Returns:
            {"loss": on the sample, or None; "std", "peak": {layer: of its outputs, the largest absolute one};
            "dead": {layer: (units,) bool, those that are zero on all of the sample}; "gradient": {layer: norm};
            "input": [mean, std, lowest, highest] of what the first layer with weights takes;
            "outputs": [lowest, highest, smallest sum of an image's, largest], of one output with a number a class}.
        """
        if everything not in self.made:
            self.made[everything] = self.make(everything)
        measure, names = self.made[everything]
        with deep_graphs():
            loss, seen, norms = measure(
                [variable.value for variable in self.trained], [variable.value for variable in self.others],
                self.images, self.labels,
            )
        norms = None if norms is None else as_numpy(norms)
        if self.scale > 1 and norms is not None and not np.isfinite(norms).all():
            # Large gradients end at 65,504, as they do under Keras's own scale, which goes down then.
            self.scale, self.made = 1.0, {}
            return self(everything)
        seen = {key: as_numpy(value) for key, value in seen.items()}
        ends = np.cumsum([units for _, units in names["dead"]])[:-1]
        dead = np.split(seen["dead"].astype(bool), ends) if names["dead"] else []
        return {
            "loss": None if loss is None else float(as_numpy(loss)),
            "std": dict(zip(names["figures"], map(float, seen["figures"][:, 0]))),
            "peak": dict(zip(names["figures"], map(float, seen["figures"][:, 1]))),
            "dead": {name: units for (name, _), units in zip(names["dead"], dead)},
            "gradient": {} if norms is None else dict(zip(self.groups, map(float, norms))),
            "input": [float(value) for value in seen["input"]],
            "outputs": [float(value) for value in seen["outputs"]],
        }

    def accuracy(self):
        """On the sample, at inference: as validation is computed; None where labels are no classes of the outputs."""
        labels, shape = classes_of(self.labels), self.model.outputs[0].shape
        if labels is None or len(self.model.outputs) > 1 or len(shape) != 2 or shape[-1] < 2:
            return None
        outputs = self.model(keras.tree.map_structure(ops.convert_to_tensor, self.images), training=False)
        return float((as_numpy(keras.tree.flatten(outputs)[0]).argmax(-1) == labels).mean())

    def make(self, everything):
        """(measurement as a function of values, the names that its figures belong to: known once it has run)."""
        wanted = {name for name, _ in self.parts} if everything else self.weighted
        names, scale = {}, self.scale

        def forward(trained, others, images, labels):
            figures, dead, entered = {}, {}, []

            def visit(name, operation, inputs, outputs):
                first = keras.tree.flatten(outputs)[0]
                if name == self.entered and not entered:
                    entered.append(span(keras.tree.flatten(inputs)[0]))
                if name in wanted and name not in figures and "float" in keras.backend.standardize_dtype(first.dtype):
                    figures[name] = spread(first)
                if name in self.rectifiers and name not in dead:
                    dead[name] = silent(first)

            with keras.StatelessScope(state_mapping=[*zip(self.trained, trained), *zip(self.others, others)]):
                outputs = walk(self.model, as_inputs(self.model, images), visit)
                loss = None
                if self.loss is not None:
                    loss = ops.mean(ops.cast(self.loss(labels, outputs[0]), "float32"))
            names["figures"] = list(figures)
            names["dead"] = [(name, int(units.shape[0])) for name, units in dead.items()]
            seen = {
                "figures": ops.stack(list(figures.values())) if figures else ops.zeros((0, 2)),
                "input": entered[0] if entered else ops.zeros((4,)),
                "dead": ops.concatenate(list(dead.values())) if dead else ops.zeros((0,)),
                "outputs": extent(outputs[0]) if len(outputs) == 1 and len(outputs[0].shape) == 2 else ops.zeros((0,)),
            }
            return (ops.zeros(()) if loss is None else loss * scale), (loss, seen)

        def norms(gradients):
            found = [norm([gradients[place] for place in places], 1 / scale) for places in self.groups.values()]
            return ops.stack(found) if found else ops.zeros((0,))

        return differentiated(forward, norms, self.loss is not None and bool(self.trained)), names


def as_numpy(value):
    return np.asarray(ops.convert_to_numpy(value), dtype="float32")


def as_inputs(model, images):
    """The images as tensors of the type that the model's inputs have."""
    return [
        ops.cast(ops.convert_to_tensor(value), tensor.dtype)
        for value, tensor in zip(in_order(model, images), model.inputs)
    ]


def spread(x):
    """(standard deviation, largest absolute value), without overflow on the way."""
    x = ops.cast(x, "float32")
    peak = ops.max(ops.abs(x))
    safe = ops.where((peak > 0) & ops.isfinite(peak), peak, 1.0)
    return ops.stack([ops.std(x / safe) * safe, peak])


def span(x):
    """(mean, deviation, lowest, highest); the deviation within channels, whose means a normalization sets apart."""
    x = ops.cast(x, "float32")
    within = ops.var(x, axis=all_but_channels(x))
    return ops.stack([ops.mean(x), ops.sqrt(ops.mean(within)), ops.min(x), ops.max(x)])


def extent(outputs):
    """(lowest, highest, smallest sum of an image's outputs, largest)."""
    x = ops.cast(outputs, "float32")
    sums = ops.sum(x, axis=-1)
    return ops.stack([ops.min(x), ops.max(x), ops.min(sums), ops.max(sums)])


def all_but_channels(x):
    first = keras.config.image_data_format() == "channels_first" and len(x.shape) > 2
    return [axis for axis in range(len(x.shape)) if axis != (1 if first else len(x.shape) - 1)]


def silent(x):
    """Of each channel or unit, whether it is zero on all images, everywhere."""
    x = ops.cast(x, "float32")
    return ops.cast(ops.max(ops.abs(x), axis=all_but_channels(x)) == 0, "float32")


def norm(gradients, down):
    """Of several arrays together, without overflow or underflow on the way."""
    known = [ops.cast(one, "float32") for one in gradients if one is not None]
    if not known:
        return ops.zeros(())
    # A layer's gradient counts as not finite where a single number of it is.
    peak = ops.max(ops.stack([ops.max(ops.abs(one)) for one in known]))
    safe = ops.where((peak > 0) & ops.isfinite(peak), peak, 1.0)
    return ops.sqrt(sum(ops.sum(ops.square(one / safe)) for one in known)) * safe * down


def single_loss(model):
    """What the one output of a model was compiled with; None: it has none, or there are several."""
    loss = model.loss
    while isinstance(loss, (list, tuple, dict)) and len(loss) == 1:
        loss = next(iter(loss.values() if isinstance(loss, dict) else loss))
    several = isinstance(loss, (list, tuple, dict)) or len(keras.tree.flatten(model.outputs)) != 1
    return None if several else loss


def loss_of(model, labels):
    """That as a function of (labels, outputs), as Keras makes it; None where it cannot be made."""
    loss = single_loss(model)
    if loss is None:
        return None
    classes = model.outputs[0].shape[-1]
    if isinstance(loss, str) and loss.lower() in ("crossentropy", "ce"):
        sparse = labels.ndim < len(model.outputs[0].shape) or labels.shape[-1] == 1
        loss = f"{'binary' if classes == 1 else 'sparse_categorical' if sparse else 'categorical'}_crossentropy"
    try:
        function = keras.losses.get(loss)
    except ValueError:
        return None
    if isinstance(function, keras.losses.Loss):
        return function

    class Wrapped(keras.losses.Loss):
        """Brings labels (n,) and outputs (n, 1) together, as Keras does with a function that a model is given."""

        def call(self, labels, outputs):
            if len(labels.shape) + 1 == len(outputs.shape) and outputs.shape[-1] == 1:
                labels = ops.expand_dims(labels, -1)
            elif len(labels.shape) == len(outputs.shape) + 1 and labels.shape[-1] == 1:
                labels = ops.squeeze(labels, -1)
            return function(labels, outputs)

    return Wrapped()


def differentiated(forward, norms, differentiates):
    """(trained, others, images, labels) -> (loss, what was seen, norms of gradients), as the backend does it."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        def measure(trained, others, images, labels):
            if not differentiates:
                _, (loss, seen) = forward(trained, others, images, labels)
                return loss, seen, None
            (_, (loss, seen)), gradients = jax.value_and_grad(forward, has_aux=True)(trained, others, images, labels)
            return loss, seen, norms(gradients)

        return jax.jit(measure)
    if backend == "tensorflow":
        import tensorflow as tf

        def measure(trained, others, images, labels):
            # Not compiled: to trace it takes longer than a measurement, and there are few.
            trained = [tf.identity(value) for value in trained]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(trained)
                scaled, (loss, seen) = forward(trained, others, images, labels)
            if not differentiates:
                return loss, seen, None
            return loss, seen, norms([dense(one) for one in tape.gradient(scaled, trained)])

        def dense(gradient):
            return None if gradient is None else tf.convert_to_tensor(gradient)

        return measure
    import torch

    def measure(trained, others, images, labels):
        trained = [value.detach().clone().requires_grad_(value.is_floating_point()) for value in trained]
        with torch.set_grad_enabled(differentiates):
            scaled, (loss, seen) = forward(trained, others, images, labels)
        if not differentiates:
            return loss, seen, None
        gradients = torch.autograd.grad(scaled, trained, allow_unused=True)
        return detached(loss), {key: detached(value) for key, value in seen.items()}, norms(gradients)

    def detached(value):
        return None if value is None else value.detach()

    return measure


def kernels_now(probe):
    """{layer: its kernel's values}, copied out."""
    return {name: states.value_of(kernel) for name, kernel in probe.kernels.items()}


def update_ratios(before, after, steps):
    """{layer: norm of the change of its kernel over that of the kernel, a step}; infinite where it is no number.

    Kernels of zeros, which change by any multiple of themselves, are left out.
    """
    found = {}
    for name, old in before.items():
        old = old.astype("float32", copy=False)
        size = length(old)
        if not size:
            continue
        with np.errstate(all="ignore"):  # what overflows is infinite, and told as such
            ratio = length(after[name].astype("float32", copy=False) - old) / size / steps
        found[name] = ratio if math.isfinite(ratio) else math.inf
    return found


def length(x):
    """The norm of an array, without overflow on the way."""
    peak = float(np.abs(x).max(initial=0.0))
    if not peak or not math.isfinite(peak):
        return peak
    return float(np.linalg.norm((x / np.float32(peak)).ravel())) * peak
