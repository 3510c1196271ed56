"""A model as a server runs it: without what is for training alone, and with its norms inside the convolutions."""
import collections
import dataclasses
import re

import keras
import numpy as np

from kerazoo.deep_graphs import deep_graphs

layers = keras.layers

# At inference, these hand on what they get. Subclasses may not: a Dropout that always drops, say.
IDLE = (
    layers.ActivityRegularization, layers.AlphaDropout, layers.Dropout, layers.GaussianDropout, layers.GaussianNoise,
    layers.Identity, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D,
)  # fmt: skip
# Where Keras and KerasCV keep their augmentation, beside layers that work at inference as well. Keras's know whether
# there is training; most of KerasCV's do not, and draw all the same: these, and all that are called Random.
KERAS, KERAS_CV = "keras.src.layers.preprocessing.", "keras_cv.src.layers.preprocessing."
DRAW = (
    "AugMix", "ChannelShuffle", "CutMix", "FourierMix", "GridMask", "MaybeApply", "MixUp", "Mosaic", "RandAugment",
    "Random",
)  # fmt: skip

AFFINE = (layers.BatchNormalization, layers.Normalization, layers.Rescaling)
NORMS = (*AFFINE, layers.GroupNormalization, layers.LayerNormalization)
KERNELS = {
    layers.Conv2D: ("kernel",),
    layers.Conv2DTranspose: ("kernel",),
    layers.Dense: ("kernel",),
    layers.DepthwiseConv2D: ("kernel",),
    layers.SeparableConv2D: ("depthwise_kernel", "pointwise_kernel"),
}
# Of one input; each output is a weighted mean of values of its own channel, or one of them.
AVERAGING = (layers.AveragePooling2D, layers.Cropping2D, layers.GlobalAveragePooling2D, layers.UpSampling2D)
LARGEST = (layers.GlobalMaxPooling2D, layers.MaxPooling2D)


@dataclasses.dataclass(frozen=True)
class Folded:
    """What became of the layers of a model; each a tuple of their names, in the order of the graph.

    Attributes:
        removed: left out, since no output depends on them at inference.
        folded: norms and scalings whose numbers are now in the weights of a neighbor.
        kept: norms and scalings that are still computed. A batch norm among them is one multiply-add per value.
    """

    removed: tuple[str, ...]
    folded: tuple[str, ...]
    kept: tuple[str, ...]


def inference_model(model, more=None):
    """Make the model that gives the same outputs at inference with the least work.

    Models inside the model are opened up. What is for training alone is left out: dropout, noise, augmentation and
    auxiliary heads. Batch norms, and pixel scaling where it is exact, are folded into the convolution or dense layer
    before or after them, in float64; a batch norm that has none becomes a 1x1 depthwise convolution of the same name.
    The layers are copies with their own weights; the model itself stays as it is. (A custom layer whose configuration
    does not suffice to make it again shares its weights.)

    Args:
        model: a built functional or sequential `keras.Model` on images with the channels last; any number of inputs
            and outputs, each of which keeps its meaning.
        more: ``more(value) -> values``, from the one output's `Value` to those of others that the new model is to have
            behind it.

    Returns:
        (a functional `keras.Model` without models inside, `Folded`). Layers keep their names; where two models inside
        have a layer of the same name, the later one has the name of its model in front.

    Raises:
        TypeError: if `model` is not a Keras model.
        ValueError: if it has not been built, or has a `call` of its own.

    Example:
        >>> served, folded = inference_model(kerazoo.resnet18())
        >>> folded.folded[:2]
        ('stem_bn', 'stage1_block1_bn1')
    """
    check(model)
    graph = Graph(model)
    if more is not None:
        for value in more(*graph.outputs):
            value.is_output = True
            graph.outputs.append(value)
    fold(graph)
    with deep_graphs():
        served = rebuild(graph, model)
    alive = {step.operation for step in graph.steps if not step.dropped}
    norms = [step for step in graph.steps if type(step.operation) in NORMS]
    return served, Folded(
        removed=names(layer for layer in leaves(model, graph.uses) if layer not in graph.uses),
        folded=names(step.operation for step in norms if step.operation not in alive),
        kept=names(step.operation for step in norms if step.operation in alive),
    )


def check(model):
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model; got {type(model).__name__}.")
    if not has_own_call(model) and not model.built:
        raise ValueError(
            f"the model {model.name!r} has not been built, so the size of its images is not known. Begin it with "
            "keras.Input(shape=(height, width, channels)), or call model.build((None, height, width, channels))."
        )
    if not is_graph(model):
        raise ValueError(
            f"the model {model.name!r} is a {type(model).__name__}, whose `call` is its own, so that its layers cannot "
            "be followed. Write it as a functional model, keras.Model(inputs, outputs), or wrap it as it is: "
            "inputs = keras.Input(shape=(height, width, channels)); keras.Model(inputs, model(inputs))."
        )


def has_own_call(model):
    return not type(model).call.__module__.startswith("keras.")


def is_graph(operation):
    """Whether this is a model whose layers tell all that it does."""
    return (
        isinstance(operation, keras.Model) and operation.built and not has_own_call(operation)
        and bool(getattr(operation, "inputs", None))
    )  # fmt: skip


def leaves(model, whole):
    """The layers of a model and of the models inside, but for those models that were left `whole`."""
    for layer in model.layers:
        if is_graph(layer) and layer not in whole:
            yield from leaves(layer, whole)
        elif not isinstance(layer, layers.InputLayer):
            yield layer


def names(operations):
    return tuple(dict.fromkeys(operation.name for operation in operations))


# The graph


class Value:
    """A tensor: the step that makes it (None for an input of the model), and the steps that read it."""

    def __init__(self, like, maker=None):
        self.shape, self.dtype, self.maker = tuple(like.shape), like.dtype, maker
        self.readers, self.is_output = [], False


class Step:
    """One call of a layer or of a Keras operation.

    Attributes:
        operation: the layer or operation of the original model.
        arguments: (positional, named), with Values for tensors.
        outputs: Values.
        parent: the name of the model that it comes from.
        affine: an `Affine`, where the step does no more than that.
        numbers: what the weights are to be, if not what they are: {name: array}.
        dropped: whether its output is no longer needed.
    """

    def __init__(self, operation, arguments, outputs, parent):
        self.operation, self.arguments, self.parent = operation, arguments, parent
        self.outputs = [Value(tensor, self) for tensor in outputs]
        self.affine = self.numbers = None
        self.dropped = False

    @property
    def inputs(self):
        return [leaf for leaf in keras.tree.flatten(self.arguments) if isinstance(leaf, Value)]


@dataclasses.dataclass(frozen=True)
class Affine:
    """x -> scale * x + shift, one number a channel, float64.

    Attributes:
        steady: whether the mean that it takes off is not large beside the deviation that it divides by. If it is,
            taking it off after a convolution leaves rounding errors.
        merged: whether others have been folded into it.
    """

    scale: np.ndarray
    shift: np.ndarray
    steady: bool = True
    merged: bool = False


class Graph:
    """What the outputs of a model depend on at inference: `steps` from inputs to outputs, models inside opened up."""

    def __init__(self, model):
        self.steps = []
        self.inputs = [Value(tensor) for tensor in model.inputs]
        self.outputs = self.trace(model, self.inputs)
        for value in self.outputs:
            value.is_output = True
        self.keep_needed()
        self.uses = collections.Counter(step.operation for step in self.steps)
        for step in self.steps:
            if self.uses[step.operation] == 1:
                step.affine = affine_of(step)

    def trace(self, model, inputs):
        values = {id(tensor): value for tensor, value in zip(model.inputs, inputs)}
        for node, handed_on in in_order(model):
            if handed_on is not None:
                for tensor, source in zip(node.outputs, handed_on):
                    values[id(tensor)] = self.as_dtype(values[id(source)], tensor, model.name)
                continue
            arguments = keras.tree.map_structure(
                lambda leaf: values[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf,
                (node.arguments.args, node.arguments.kwargs),
            )
            if opens(node):
                given = [
                    self.as_dtype(value, tensor, model.name)
                    for value, tensor in zip(keras.tree.flatten(images_of(*arguments)), node.operation.inputs)
                ]
                outputs = self.trace(node.operation, given)
            else:
                outputs = self.add(Step(node.operation, arguments, node.outputs, model.name))
            values.update((id(tensor), value) for tensor, value in zip(node.outputs, outputs))
        return [values[id(tensor)] for tensor in model.outputs]

    def add(self, step):
        self.steps.append(step)
        return step.outputs

    def as_dtype(self, value, tensor, parent):
        """The value as the model inside, or the layer that is left out, would have cast it."""
        if value.dtype == tensor.dtype:
            return value
        # Keras has no layer that casts integers and does nothing else.
        cast = keras.ops.cast(keras.KerasTensor(value.shape, value.dtype), tensor.dtype)
        operation = cast._keras_history.operation
        return self.add(Step(operation, ((value,), {}), [cast], parent))[0]

    def keep_needed(self):
        needed = set(self.outputs)
        for step in reversed(self.steps):
            if needed.intersection(step.outputs):
                needed.update(step.inputs)
        self.steps = [step for step in self.steps if needed.intersection(step.outputs)]
        for step in self.steps:
            for value in step.inputs:
                value.readers.append(step)

    def drop(self, step):
        """Let those who read the step's output read its input."""
        (old,), (new,) = step.outputs, step.inputs
        new.readers = [reader for reader in new.readers if reader is not step] + old.readers
        new.is_output |= old.is_output
        for reader in set(old.readers):
            reader.arguments = keras.tree.map_structure(lambda leaf: new if leaf is old else leaf, reader.arguments)
        self.outputs = [new if value is old else value for value in self.outputs]
        step.dropped = True


def in_order(model):
    """The nodes of Keras's graph that the outputs depend on at inference, each behind those that it reads.

    Yields pairs of a node and what `hands_on` says of it.
    """
    entries, handed_on, done = {id(tensor) for tensor in model.inputs}, {}, set()
    # A stack of our own: deep networks have more layers than Python has levels of recursion.
    stack = makers(model.outputs, entries)
    while stack:
        node = stack[-1]
        if node not in handed_on:
            handed_on[node] = hands_on(node)
            read = node.input_tensors if handed_on[node] is None else handed_on[node]
            stack += [maker for maker in makers(read, entries) if maker not in handed_on]
            continue
        stack.pop()
        if node not in done:
            done.add(node)
            yield node, handed_on[node]


def makers(tensors, entries):
    """The nodes that make the tensors, the first one last; those of `entries` come from outside."""
    histories = [tensor._keras_history for tensor in reversed(tensors) if id(tensor) not in entries]
    return [operation._inbound_nodes[index] for operation, index, _ in histories]


def opens(node):
    """Whether the node calls a model that can be taken apart: its layers are known, and it gets what it was made for.

    A model also takes images without the axis of their one channel, and inputs by their names.
    """
    given = images_of(node.arguments.args, node.arguments.kwargs)
    if not is_graph(node.operation) or isinstance(given, dict):
        return False
    given, wanted = keras.tree.flatten(given), node.operation.inputs
    same = [id(one) for one in given] == [id(one) for one in node.input_tensors]
    return same and [len(one.shape) for one in given] == [len(one.shape) for one in wanted]


def images_of(args, kwargs):
    """What a model inside is called on."""
    return args[0] if args else kwargs.get("inputs")


def hands_on(node):
    """The input tensors that a step's outputs equal at inference; None if it does something.

    kerazoo's layers for training alone name the one of their inputs as `inference_input`.
    """
    layer, inputs, outputs = node.operation, node.input_tensors, node.outputs
    if hasattr(layer, "inference_input"):
        handed_on = inputs if len(inputs) == len(outputs) else [inputs[layer.inference_input]]
    elif type(layer) in IDLE or type(layer) is layers.Activation and layer.activation is keras.activations.linear:
        handed_on = inputs
    elif type(layer).__module__.startswith(KERAS) and gives_back(layer, inputs, outputs):
        handed_on = inputs
    elif type(layer).__module__.startswith(KERAS_CV) and type(layer).__name__.startswith(DRAW):
        handed_on = inputs
    else:
        return None
    same = all(
        len(one.shape) == len(other.shape) and all(b in (None, a) for a, b in zip(one.shape, other.shape))
        for one, other in zip(handed_on, outputs, strict=True)
    )
    return handed_on if same else None


def gives_back(layer, inputs, outputs):
    """Whether a layer for images hands them on at inference; some crop, resize, clip or equalize them all the same."""
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].shape != outputs[0].shape or len(inputs[0].shape) != 4:
        return False
    _, height, width, channels = inputs[0].shape
    # Beyond 0 to 255 as well, and exact in half precision.
    low, high = (0, 128) if inputs[0].dtype == "uint8" else (-64, 192)
    images = 2 * np.random.default_rng(0).integers(low, high, (1, height or 32, width or 32, channels or 3))
    images = images.astype(inputs[0].dtype if inputs[0].dtype == "uint8" else "float32")
    try:
        given = layer(images, **({"training": False} if layer._call_has_training_arg else {}))
    except Exception:  # whatever it wants besides images, it is not a layer that we can leave out
        return False
    return bool(np.array_equal(np.asarray(keras.ops.convert_to_numpy(given), "float64"), images))


# Folding


def fold(graph):
    """Fold what can be; backward first, which works for every norm behind a convolution."""
    for step in graph.steps:
        if step.affine and fold_back(graph, step):
            graph.drop(step)
    # From the end, so that of two in a row the first finds the way free.
    for step in reversed(graph.steps):
        if step.affine and not step.dropped and fold_ahead(graph, step):
            graph.drop(step)


def affine_of(step):
    """The step as an `Affine` on the last axis; None if it is not one, or its numbers are no numbers."""
    layer = step.operation
    if type(layer) not in AFFINE or len(step.inputs) != 1 or keras.config.image_data_format() != "channels_last":
        return None
    channels = step.inputs[0].shape[-1]
    with np.errstate(all="ignore"):
        affine = AFFINE_OF[type(layer)](layer, len(step.inputs[0].shape), channels) if channels else None
        usable = affine and np.isfinite(affine.scale).all() and np.isfinite(affine.shift).all()
    return affine if usable else None


def of_batch_norm(norm, rank, channels):
    if norm.axis not in (-1, rank - 1):
        return None
    mean, variance = float64(norm.moving_mean), float64(norm.moving_variance)
    inverse = 1 / np.sqrt(variance + norm.epsilon)
    scale = inverse * (1 if norm.gamma is None else float64(norm.gamma))
    shift = (0 if norm.beta is None else float64(norm.beta)) - mean * scale
    return Affine(scale, shift, steady(mean * inverse))


def of_normalization(layer, rank, channels):
    mean, variance = float64(layer.mean), float64(layer.variance)
    if mean.shape != (1,) * (rank - 1) + mean.shape[-1:] or mean.shape[-1] not in (1, channels):
        return None
    mean, deviation = (np.broadcast_to(one.reshape(-1), (channels,)) for one in (mean, np.sqrt(variance)))
    deviation = np.maximum(deviation, keras.config.epsilon())
    if layer.invert:
        return Affine(deviation.copy(), mean.copy())
    return Affine(1 / deviation, -mean / deviation, steady(mean / deviation))


def of_rescaling(layer, rank, channels):
    numbers = [np.asarray(one, "float64") for one in (layer.scale, layer.offset)]
    if any(one.size not in (1, channels) or one.ndim and one.shape[-1] != one.size for one in numbers):
        return None
    scale, offset = (np.broadcast_to(one.reshape(-1), (channels,)).copy() for one in numbers)
    # Pixels have a deviation of about 64.
    return Affine(scale, offset, steady(offset / (64 * scale)) or not offset.any())


AFFINE_OF = {
    layers.BatchNormalization: of_batch_norm,
    layers.Normalization: of_normalization,
    layers.Rescaling: of_rescaling,
}


def steady(ratio):
    """float32 has seven digits; a hundred times the deviation costs two of them."""
    return bool((np.abs(ratio) < 100).all())


def fold_back(graph, step):
    """Fold an affine step into the layer that makes its input, through layers that let it pass; whether that worked."""
    affine, value, dtype = step.affine, step.inputs[0], step.operation.compute_dtype
    while len(value.readers) == 1 and not value.is_output and value.maker:
        maker = value.maker
        layer = maker.operation
        if graph.uses[layer] > 1 or getattr(layer, "compute_dtype", None) != dtype:
            return False
        if maker.affine:
            return merge(maker, affine)
        if type(layer) in KERNELS:
            return takes(layer) and is_linear(layer) and store(maker, layer, after(layer, numbers_of(maker), affine))
        affine = passed(layer, affine, value, ahead=False)
        if affine is None:
            return False
        value = maker.inputs[0]
    return False


def merge(maker, affine):
    first = maker.affine
    if not full_precision(maker.operation) or not affine.steady:
        return False
    scale, shift = first.scale * affine.scale, first.shift * affine.scale + affine.shift
    if not np.isfinite(scale).all() or not np.isfinite(shift).all():
        return False
    maker.affine = Affine(scale, shift, first.steady, merged=True)
    return True


def fold_ahead(graph, step):
    """Fold an affine step into all layers that read it, through layers that let it pass; whether that worked."""
    dtype, sinks = step.operation.compute_dtype, []
    if step.inputs[0].dtype != dtype:
        return False  # it casts as well
    waiting = [(step.outputs[0], step.affine)]
    while waiting:
        value, affine = waiting.pop()
        if value.is_output:
            return False
        for reader in value.readers:
            layer = reader.operation
            if graph.uses[layer] > 1 or getattr(layer, "compute_dtype", None) != dtype or len(reader.inputs) != 1:
                return False
            if type(layer) in KERNELS:
                if not takes(layer) or affine.shift.any() and not (affine.steady and shift_passes(layer)):
                    return False
                sinks.append((reader, affine))
                continue
            passing = passed(layer, affine, value, ahead=True)
            if passing is None:
                return False
            waiting.append((reader.outputs[0], passing))
    changed = [(sink, before(sink.operation, numbers_of(sink), affine)) for sink, affine in sinks]
    if not all(fits(sink.operation, numbers) for sink, numbers in changed):
        return False
    return all(store(sink, sink.operation, numbers) for sink, numbers in changed)


def passed(layer, affine, value, ahead):
    """The affine function on the other side of a layer; None if there is none."""
    kind = type(layer)
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return None
    if kind in AVERAGING:
        return affine
    if kind in LARGEST:
        return affine if (affine.scale >= 0).all() else None
    if kind is layers.ZeroPadding2D:
        return None if affine.shift.any() else affine
    if kind is layers.Flatten and ahead and None not in value.shape[1:]:
        places = int(np.prod(value.shape[1:-1]))
        return dataclasses.replace(
            affine, scale=np.tile(affine.scale, places), shift=np.tile(affine.shift, places)
        )
    return None


def takes(layer):
    """Whether kernel and bias are all the weights, the channels are last, and the layer can be made again."""
    if len(layer.weights) != len(KERNELS[type(layer)]) + (layer.bias is not None):
        return False  # quantized, adapted by LoRA, or with an activation that has weights
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return False
    try:
        made_again(layer, layer.name, use_bias=True)
    except Exception:  # an activation that Keras does not know by name, say
        return False
    return True


def is_linear(layer):
    return layer.activation in (None, keras.activations.linear)


def shift_passes(layer):
    """Whether each output sees the same sum of shifts: no window reaches over the border, where zeros are."""
    if isinstance(layer, layers.Dense):
        return True
    if isinstance(layer, layers.Conv2DTranspose):
        return False
    return layer.padding == "valid" or set(layer.kernel_size) == {1}


def numbers_of(step):
    """The weights of a layer with a kernel, in float64; there is always a bias."""
    if step.numbers:
        return {name: array.astype("float64") for name, array in step.numbers.items()}
    layer = step.operation
    numbers = {name: float64(getattr(layer, name)) for name in KERNELS[type(layer)]}
    last = numbers[KERNELS[type(layer)][-1]]
    channels = {layers.DepthwiseConv2D: last.shape[-2] * last.shape[-1], layers.Conv2DTranspose: last.shape[-2]}
    bias = np.zeros(channels.get(type(layer), last.shape[-1])) if layer.bias is None else float64(layer.bias)
    return {**numbers, "bias": bias}


def after(layer, numbers, affine):
    """The weights of one layer that does what this layer and then the affine function do."""
    name = KERNELS[type(layer)][-1]
    kernel, scale = numbers[name], affine.scale
    if isinstance(layer, layers.DepthwiseConv2D):
        scale = scale.reshape(kernel.shape[2:])
    elif isinstance(layer, layers.Conv2DTranspose):
        scale = scale[:, None]
    return {**numbers, name: kernel * scale, "bias": numbers["bias"] * affine.scale + affine.shift}


def before(layer, numbers, affine):
    """The weights of one layer that does what the affine function and then this layer do."""
    name = KERNELS[type(layer)][0]
    kernel = numbers[name]

    def by_input(vector):
        if isinstance(layer, layers.Conv2DTranspose):
            return vector
        if type(layer) is layers.Conv2D:
            # (input channels of a group, output channels): each output channel sees those of its own group.
            return np.repeat(vector.reshape(layer.groups, -1), kernel.shape[-1] // layer.groups, axis=0).T
        return vector[:, None]

    moved = 0
    if affine.shift.any():
        shifts = kernel * by_input(affine.shift)
        moved = shifts.sum((0, 1)).reshape(-1) if isinstance(layer, (layers.DepthwiseConv2D, layers.SeparableConv2D)) \
            else shifts.sum(tuple(range(kernel.ndim - 1)))
        if isinstance(layer, layers.SeparableConv2D):
            moved = moved @ numbers["pointwise_kernel"][0, 0]
    return {**numbers, name: kernel * by_input(affine.scale), "bias": numbers["bias"] + moved}


def fits(layer, numbers):
    """Whether the numbers are finite where they are stored, and where they are computed with."""
    half = "float16" in (layer.compute_dtype, layer.variable_dtype)
    limit = np.finfo("float16" if half else "float32").max
    return all(bool((np.abs(array) <= limit).all()) for array in numbers.values())


def store(step, layer, numbers):
    if not fits(layer, numbers):
        return False
    dtype = "float64" if layer.variable_dtype == "float64" else "float32"
    step.numbers = {name: array.astype(dtype) for name, array in numbers.items()}
    return True


def float64(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor)).astype("float64")


# The new model


def rebuild(graph, model):
    taken, made, tensors = set(), {}, {}
    for value, tensor in zip(graph.inputs, model.inputs):
        name = unused(tensor._keras_history.operation.name, model.name, taken)
        tensors[value] = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)
    for step in graph.steps:
        if step.dropped:
            continue
        operation = made.get(step.operation)
        if operation is None:
            operation = made[step.operation] = new_operation(step, unused(step.operation.name, step.parent, taken))
        # What was put in the place of a norm knows none of its other arguments.
        arguments = (step.inputs, {}) if step.affine or step.numbers else step.arguments
        args, kwargs = keras.tree.map_structure(
            lambda leaf: tensors[leaf] if isinstance(leaf, Value) else leaf, arguments
        )
        tensors.update(zip(step.outputs, keras.tree.flatten(operation(*args, **kwargs))))

    inputs, outputs = ([tensors[value] for value in values] for values in (graph.inputs, graph.outputs))
    name = fit_for_tensorflow(model.name)
    if isinstance(model, keras.Sequential) or len(outputs) > len(model.outputs):
        return keras.Model(*inputs, outputs[0] if len(outputs) == 1 else outputs, name=name)
    pack = keras.tree.pack_sequence_as
    return keras.Model(pack(model.input, inputs), pack(model.output, outputs), name=name)


def unused(name, parent, taken):
    """The name itself if it is free, else with its model's in front, else with a number as well."""
    name, parent = fit_for_tensorflow(name), fit_for_tensorflow(parent)
    choice, number = name, 0
    while choice in taken:
        choice = f"{parent}_{name}_{number}" if number else f"{parent}_{name}"
        number += 1
    taken.add(choice)
    return choice


def fit_for_tensorflow(name):
    """The name with what TensorFlow does not take in one, such as spaces and umlauts, replaced."""
    name = re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", name)
    return name if re.match("[A-Za-z0-9.]", name) else f"x{name}"


def new_operation(step, name):
    """The layer or operation to call in the new model, with its weights."""
    original, affine, channels = step.operation, step.affine, step.inputs[0].shape[-1]
    if step.numbers:
        new = made_again(original, name, use_bias=original.use_bias or bool(step.numbers["bias"].any()))
        return loaded(new, step.inputs[0].shape, step.numbers)
    if affine and (affine.merged or type(original) is layers.BatchNormalization and full_precision(original)):
        options = {"name": name, "dtype": original.dtype_policy, "trainable": original.trainable}
        if type(original) is not layers.BatchNormalization or len(step.inputs[0].shape) != 4:
            return layers.Rescaling(affine.scale.tolist(), affine.shift.tolist(), **options)
        # One operation, which runtimes can fuse with the activation, where a product and a sum are two.
        new = layers.DepthwiseConv2D(1, data_format="channels_last", **options)
        kernel = affine.scale.reshape(1, 1, channels, 1)
        return loaded(new, step.inputs[0].shape, {"kernel": kernel, "bias": affine.shift})
    return cloned(original, name) or shallow_copy(original, name)


def loaded(layer, shape, numbers):
    layer.build(shape)
    for name, array in numbers.items():
        if getattr(layer, name) is not None:
            getattr(layer, name).assign(array)
    return layer


def made_again(layer, name, **changed):
    """A stock layer from its configuration, without what is for training alone.

    Random numbers that are replaced at once would take seconds to draw in large models.
    """
    config = layer.get_config()
    training = {key: "zeros" for key in config if key.endswith("_initializer")}
    training |= {key: None for key in config if key.endswith(("_regularizer", "_constraint"))}
    return type(layer).from_config(config | training | {"name": name} | changed)


def cloned(layer, name):
    """The layer with weights of its own; None where its configuration does not suffice to make it again.

    Those of custom layers often leave something out; without weights, there is no need to rely on them.
    """
    stock = type(layer).__module__.startswith("keras.") and not isinstance(layer, layers.Lambda)
    if not isinstance(layer, layers.Layer) or not (stock or layer.variables):
        return None
    try:
        new = made_again(layer, name) if stock else type(layer).from_config(layer.get_config() | {"name": name})
        new.build_from_config(layer.get_build_config() or {})
        for variable, original in zip(new.weights, layer.weights, strict=True):
            variable.assign(keras.ops.convert_to_numpy(original))
    except Exception:  # whatever a custom class raises, there is another way
        return None
    if hasattr(new, "finalize_state"):
        new.finalize_state()  # Normalization keeps copies of its weights
    return new


def shallow_copy(operation, name):
    """The same operation, weights included, under its own name and with no place in the other model's graph."""
    new = object.__new__(type(operation))
    new.__dict__.update(operation.__dict__)
    new.__dict__.update(_inbound_nodes=[], _outbound_nodes=[], name=name)
    return new


def full_precision(layer):
    return layer.compute_dtype in ("float32", "float64")
