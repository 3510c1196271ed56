"""Carries out plans: lists of steps, each of which hands every image to the primitive that it drew."""

import contextlib
import functools
import math
import typing
import weakref

import keras
import numpy as np
from keras import ops

from kerazoo.augment import primitives
from kerazoo.augment.canvas import dtype_of, pack, unpack


class Step(typing.NamedTuple):
    """Some rounds of choosing among primitives.

    Attributes:
        primitives: tuple of primitives, alike for all images.
        params: dictionary of tensors (batch, rounds, ...), what the primitives are called with.
        choice: int32 (batch, rounds), the primitive that each image goes through in each round; None where there is
            but one primitive.
    """

    primitives: tuple
    params: dict
    choice: object = None


def always(primitive, **params):
    """A step of one round in which all images go through one primitive; parameters (batch, ...)."""
    return Step((primitive,), {name: value[:, None] for name, value in params.items()})


def sometimes(drawn, probability, primitive, **params):
    """As ``always``, but only where ``drawn`` (batch,), from [0, 1), is below the probability."""
    choice = ops.cast(drawn < probability, "int32")[:, None]
    return Step((primitives.Identity(), primitive), {name: value[:, None] for name, value in params.items()}, choice)


def only_where(chosen, steps):
    """The steps, for those images alone that are chosen: bool (batch,). No step may change the size."""
    limited = []
    for step in steps:
        choice = 0 if step.choice is None else step.choice
        rounds = next(iter(step.params.values())) if step.params else step.choice
        like = ops.zeros_like(step.choice) if step.choice is not None else ops.zeros(ops.shape(rounds)[:2], "int32")
        limited.append(
            Step(
                (primitives.Identity(), *step.primitives),
                step.params,
                ops.where(chosen[:, None], choice + 1 + like, like),
            )
        )
    return limited


def merge(steps):
    """Neighboring resamplings become one: their matrices multiply.

    That is the same picture but for what it is meant to be: pixels are interpolated once instead of twice, and what
    the first would have pushed out of the frame, the second may bring back, where it would have found fill.
    """
    merged = []
    for step in steps:
        joined = _joined(merged[-1], step) if merged else None
        if joined is None:
            merged.append(step)
        else:
            merged[-1] = joined
    return merged


def _joined(first, second):
    if all(isinstance(step.primitives[0], primitives.Mirror) for step in (first, second)):
        return None  # cheaper than a resampling, however many
    first, second = (_as_warp(step) for step in (first, second))
    warps = [step.primitives[0] for step in (first, second)]
    for step, warp in zip((first, second), warps):
        if step.choice is not None or not isinstance(warp, primitives.Warp) or warp.reflect:
            return None
    fills = [warp.fill for warp in warps if warp.fill is not None]
    if len(set(fills)) > 1:
        return None
    # Turns by quarters and flips look right either way; else the finer of the two.
    interpolation = "bilinear" if "bilinear" in (warps[0].interpolation, warps[1].interpolation) else "nearest"
    warp = primitives.Warp(
        interpolation,
        fills[0] if fills else None,
        warps[1].size or warps[0].size,
        any(warp.projective for warp in warps),
    )
    product = primitives.chain(first.params["matrix"][:, 0], second.params["matrix"][:, 0])
    return Step((warp,), {"matrix": product[:, None]})


def _as_warp(step):
    """A step that mirrors, as a warp; any other as it is."""
    if not isinstance(step.primitives[0], primitives.Mirror):
        return step
    return Step((primitives.Warp("nearest", None),), {"matrix": step.params["matrix"]})


def run(steps, images):
    """Carries out the steps on images (batch, height, width, channels).

    Returns:
        Images: uint8 if they came so, else float32; the height and width that the steps give them.
    """
    if not steps:
        return images
    canvas = pack(images)
    steps = prepared(merge(steps), *canvas.size)
    if is_eager():
        canvas = in_groups(steps, canvas)
    elif on_accelerator():
        canvas = all_at_once(steps, canvas)
    else:
        canvas = one_by_one(steps, canvas)
    return unpack(canvas)


def prepared(steps, height, width):
    """The steps with the parameters that their primitives need, and no others."""
    result = []
    for step in steps:
        params = step.params
        for primitive in step.primitives:
            params = primitive.prepare(params, height, width) if hasattr(primitive, "prepare") else params
            height, width = getattr(primitive, "size", None) or (height, width)
        needed = {name for primitive in step.primitives for name in primitive.needs}
        result.append(step._replace(params={name: params[name] for name in sorted(needed)}))
    return result


def one_by_one(steps, canvas):
    """Each image in turn, and each primitive only where it was drawn: what is fast on a CPU.

    All that was drawn for an image lies in one row of integers, read at once: XLA runs a loop of few operations on the
    spot, but hands them to a pool of threads where there are more, which takes longer than a small image itself.
    """
    batch = ops.shape(canvas.arrays[0])[0]
    rows = [_row_of(step, batch) for step in steps]
    ends = np.cumsum([0, *(row.shape[1] * row.shape[2] for row in rows)])

    def follow(one):
        arrays, drawn = one
        arrays = tuple(array[None] for array in arrays)
        for step, row, start, end in zip(steps, rows, ends, ends[1:]):
            arrays = _rounds(step, ops.reshape(drawn[start:end], row.shape[1:]), arrays)
        return tuple(array[0] for array in arrays)

    def _rounds(step, drawn, arrays):
        def through(primitive, arrays, now):
            return primitive(canvas.like(arrays), _params_of(step, now)).arrays

        if step.choice is None:
            return through(step.primitives[0], arrays, drawn[0])

        def body(k, arrays):
            now = ops.take(drawn, k, axis=0)
            branches = [
                lambda arrays, primitive=primitive: through(primitive, arrays, now) for primitive in step.primitives
            ]
            return k + 1, ops.switch(now[0], branches, arrays)

        rounds = drawn.shape[0]
        if rounds == 1:
            return body(0, arrays)[1]
        return ops.while_loop(lambda k, _: k < rounds, body, (ops.zeros((), "int32"), arrays))[1]

    drawn = [ops.reshape(row, (batch, row.shape[1] * row.shape[2])) for row in rows]
    drawn = ops.concatenate(drawn, axis=1) if len(drawn) > 1 else drawn[0]
    size = canvas.size
    for step in steps:
        size = getattr(step.primitives[-1], "size", None) or size
    return canvas.like(_map(follow, (canvas.arrays, drawn), size))


def _row_of(step, batch):
    """What a step has drawn, int32 (batch, rounds, n): the choice, then the parameters by name, floats bit by bit."""
    values = [value for _, value in sorted(step.params.items())]
    if step.choice is not None:
        values.insert(0, step.choice)
    rounds = values[0].shape[1] if values else 1
    values = [
        ops.reshape(as_bits(value, "int32"), (batch, rounds, math.prod(value.shape[2:]))) for value in values
    ]
    return ops.concatenate(values, axis=-1) if values else ops.zeros((batch, rounds, 0), "int32")


def _params_of(step, row):
    """The parameters of one image in one round, (1, ...), from its part of ``_row_of``."""
    params, at = {}, 0 if step.choice is None else 1
    for name, value in sorted(step.params.items()):
        end = at + math.prod(value.shape[2:])
        params[name] = ops.reshape(as_bits(row[at:end], dtype_of(value)), (1, *value.shape[2:]))
        at = end
    return params


def as_bits(x, dtype):
    """The same 32 bits as another dtype."""
    if dtype_of(x) == dtype:
        return x
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.bitcast(x, dtype)
    if backend == "jax":
        import jax

        return jax.lax.bitcast_convert_type(x, dtype)
    import torch

    return x.view(getattr(torch, dtype))


def _map(function, xs, size):
    if keras.backend.backend() != "tensorflow":
        return ops.map(function, xs)
    # ops.map traces the function once more, to see what it returns.
    import tensorflow as tf

    arrays = keras.tree.flatten(xs[0])
    size = [n if isinstance(n, int) else None for n in size]
    signature = tuple(tf.TensorSpec(size, array.dtype) for array in arrays)
    return tf.map_fn(function, xs, fn_output_signature=signature)


def all_at_once(steps, canvas):
    """The whole batch through every primitive, and each image takes what it drew: what is fast on an accelerator."""
    for step in steps:
        for k in range(_rounds_of(step)):
            params = {name: value[:, k] for name, value in step.params.items()}
            results = [primitive(canvas, params).arrays for primitive in step.primitives]
            arrays = results[0]
            for i, others in enumerate(results[1:], start=1):
                drawn = (step.choice[:, k] == i)[:, None, None]
                arrays = [ops.where(drawn, other, array) for array, other in zip(arrays, others)]
            canvas = canvas.like(arrays)
    return canvas


def in_groups(steps, canvas):
    """Those images together that drew the same primitive: what is fast without a compiler."""
    for step in steps:
        for k in range(_rounds_of(step)):
            params = {name: value[:, k] for name, value in step.params.items()}
            if len(step.primitives) == 1:
                canvas = step.primitives[0](canvas, params)
                continue
            choice = ops.convert_to_numpy(step.choice[:, k])
            order, parts = [], []
            for i, primitive in enumerate(step.primitives):
                members = np.flatnonzero(choice == i).astype("int32")
                if len(members):
                    part = canvas.like(ops.take(array, members, axis=0) for array in canvas.arrays)
                    own = {name: ops.take(value, members, axis=0) for name, value in params.items()}
                    parts.append(primitive(part, own).arrays)
                    order.append(members)
            if not order:
                continue  # an empty batch
            back = np.argsort(np.concatenate(order)).astype("int32")
            canvas = canvas.like(ops.take(ops.concatenate(same, axis=0), back, axis=0) for same in zip(*parts))
    return canvas


def _rounds_of(step):
    return 1 if step.choice is None else step.choice.shape[1]


def is_eager():
    """Whether operations are carried out as they are called."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.executing_eagerly()
    if backend == "jax":
        import jax

        return not isinstance(jax.numpy.zeros(()) + 0, jax.core.Tracer)
    return True


def on_accelerator():
    """Whether what is being traced will run on a GPU or TPU."""
    if keras.backend.backend() == "jax":
        import jax

        device = jax.config.jax_default_device or jax.devices()[0]
        return getattr(device, "platform", device) != "cpu"
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU") + tf.config.list_logical_devices("TPU")) and not in_dataset(tf)


def in_dataset(tf):
    """Whether a function of ``tf.data`` is being traced, which runs on the CPU always."""
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        if "Dataset" in getattr(graph, "name", ""):
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def maps():
    """Whether ``Dataset.map`` of TensorFlow traces a layer of the same backend."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.executing_eagerly() and in_dataset(tf)


_sections = weakref.WeakKeyDictionary()


def alone(layer, function):
    """``function()``, one call of a layer's at a time, also in the parallel calls of ``Dataset.map``."""
    if not maps():
        return function()
    import tensorflow as tf

    if layer not in _sections:
        with tf.init_scope():
            _sections[layer] = tf.CriticalSection()
    graph = tf.compat.v1.get_default_graph()

    def all_of_it():
        before = len(graph.get_operations())
        result = function()
        # What is changed on the way belongs to it: the section ends with what the result waits for.
        with tf.control_dependencies(graph.get_operations()[before:]):
            return tf.identity(result)

    return _sections[layer].execute(all_of_it)


def checked(images, name):
    """Float images, from a data set that stops where they are not pixels from 0 to 255."""
    import tensorflow as tf

    pixels = tf.cast(images, tf.float32)
    low, high = tf.reduce_min(pixels), tf.reduce_max(pixels)
    scaled = (high > 0) & (high <= 1) & tf.reduce_any(pixels != tf.floor(pixels))
    message = f"{name}: wanted pixel values from 0 to 255; undo the scaling, or clip them. Received, the ends:"
    check = tf.debugging.Assert((low >= 0) & (high <= 255) & ~scaled, [message, low, high])
    with tf.control_dependencies([check]):
        return tf.identity(images)


def replica():
    """Which replica of ``tf.distribute`` is being traced, an integer or a tensor; None where there are not several."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return None if context is None or context.num_replicas_in_sync < 2 else context.replica_id_in_sync_group


def on_cpu():
    """A context in which JAX computes on the CPU; whatever it is, under other backends."""
    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.default_device(jax.devices("cpu")[0])


_compiled = weakref.WeakKeyDictionary()


def plain(layer, function):
    """``function(layer, *tensors)`` as a function of the tensors."""
    return functools.partial(function, layer)


def compiled(layer, function):
    """The same, compiled by XLA where that is of use, and kept as long as the layer.

    TensorFlow carries out operations quickly without; JAX would compile each of them for each number of images.
    """
    backend = keras.backend.backend()
    if backend == "torch" or is_eager() == (backend == "tensorflow"):
        return plain(layer, function)
    kept = _compiled.setdefault(layer, {})
    # A trace for the CPU, as in tf.data, is not the one for a GPU.
    key = function, on_accelerator()
    if key not in kept:
        # Not an attribute of the layer, which would be saved and copied with it; nor may it keep the layer alive.
        owner = weakref.ref(layer)

        def of_tensors(*tensors):
            return function(owner(), *tensors)

        if backend == "tensorflow":
            import tensorflow as tf

            kept[key] = tf.function(of_tensors, jit_compile=True, autograph=False)
        else:
            import jax

            kept[key] = jax.jit(of_tensors)
    return kept[key]
