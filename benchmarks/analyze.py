"""Activation memory as `kerazoo.analyze` tells it, beside what TensorFlow and JAX make of the same models.

    KERAS_BACKEND=tensorflow python benchmarks/analyze.py [NAME ...]
    KERAS_BACKEND=jax python benchmarks/analyze.py [NAME ...] [--batch 4]

Under TensorFlow, for one image:

- inference: the most that its allocator has handed out at once, from the trace of an executed forward pass without
  XLA; weights and image left out. oneDNN, which lays tensors out in its own way, is off;
- kept: the tensors of the forward pass that the backward pass of the traced function reads, each once, weights and
  images left out.

Under JAX, for one image:

- inference: the temporary memory of the compiled forward pass (`memory_analysis().temp_size_in_bytes`), which leaves
  out weights, image and logits;
- residuals: what JAX's forward pass hands to its backward pass before XLA sees either, weights and images left out;
- compiled: the temporary memory of the compiled gradient, by which it grows with each image of a batch. XLA computes
  some tensors anew rather than keep them, and needs room for gradients as well.

XLA may fuse a whole network into one call of a library, whose room it does not count (YNN, which the script turns off),
and on CPUs it keeps the terms of several residual sums to add them up again in each place that reads one.

What does not grow with the batch does not count: the figures are differences of two batch sizes, but for TensorFlow's
inference.
"""
import argparse
import os
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=")

import keras  # noqa: E402
import numpy as np  # noqa: E402

import kerazoo  # noqa: E402

NAMES = (
    "lenet5", "alexnet", "vgg16", "googlenet", "inception_v3", "resnet18", "resnet50", "resnet20", "wide_resnet28_10",
    "densenet121", "efficientnet_b0", "efficientnet_lite0",
)


def growth(measure, few=2, many=4):
    """By how much a figure grows with each image of a batch."""
    return (measure(many) - measure(few)) / (many - few)


def tensorflow_kept(model, batch):
    """Bytes of the forward pass's tensors that the backward pass reads."""
    import tensorflow as tf

    boundary = []

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            # A sum keeps nothing itself.
            loss = tf.reduce_sum(model(images, training=True))
        boundary.append(len(tf.compat.v1.get_default_graph().get_operations()))
        return tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    graph = step.get_concrete_function(tf.TensorSpec((batch, *model.input_shape[1:]), "float32")).graph
    operations = graph.get_operations()
    forward = {operation.name for operation in operations[:boundary[0]]}
    kept = {}
    for operation in operations[boundary[0]:]:
        for tensor in operation.inputs:
            # Placeholders are the images and the weights; identities and reshapes lie in the memory of their inputs.
            while tensor.op.type in ("Identity", "Reshape", "StopGradient"):
                tensor = tensor.op.inputs[0]
            if tensor.op.name in forward and tensor.op.type not in ("Placeholder", "Const", "ReadVariableOp"):
                kept[tensor.name] = tensor
    return sum(
        int(np.prod(tensor.shape)) * tensor.dtype.size for tensor in kept.values() if tensor.shape.is_fully_defined()
    )


def tensorflow_inference(model):
    """The most bytes that TensorFlow's allocator had handed out at once, in an executed forward pass of one image."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    shape = (1, *model.input_shape[1:])
    function = tf.function(lambda images: model(images, training=False))
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(tf.TensorSpec(shape, "float32")))
    # One operation after another, as a single thread runs them.
    settings = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=1)
    options, record = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE), None
    with tf.Graph().as_default():
        tf.import_graph_def(frozen.graph.as_graph_def(), name="")
        with tf.compat.v1.Session(config=settings) as session:
            for _ in range(2):  # the first run sets things up
                record = tf.compat.v1.RunMetadata()
                session.run(
                    frozen.outputs[0].name, {frozen.inputs[0].name: np.zeros(shape, "float32")}, options, record
                )
    events = sorted(
        (event.alloc_micros, event.alloc_bytes) for device in record.step_stats.dev_stats
        for node in device.node_stats for memory in node.memory for event in memory.allocation_records
    )
    return int(np.cumsum([size for _, size in events]).max())


def abstract(variables):
    import jax

    return [jax.ShapeDtypeStruct(variable.shape, variable.dtype) for variable in variables]


def jax_images(model, batch):
    import jax

    return jax.ShapeDtypeStruct((batch, *model.input_shape[1:]), "float32")


def jax_inference(model, batch):
    """Bytes that the compiled forward pass needs beside its arguments and results."""
    import jax

    def forward(trained, others, images):
        return model.stateless_call(trained, others, images, training=False)[0]

    compiled = jax.jit(forward).lower(
        abstract(model.trainable_variables), abstract(model.non_trainable_variables), jax_images(model, batch)
    ).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def jax_residuals(model, batch):
    """Bytes that JAX hands from the forward to the backward pass."""
    from jax._src.ad_checkpoint import saved_residuals  # its public twin prints them

    others = [variable.value for variable in model.non_trainable_variables]

    def loss(trained, images):
        return model.stateless_call(trained, others, images, training=True)[0].sum()

    found = saved_residuals(loss, abstract(model.trainable_variables), jax_images(model, batch))
    return sum(
        int(np.prod(value.shape)) * value.dtype.itemsize for value, source in found
        if "argument" not in source and "constant" not in source
    )


def jax_compiled(model, batch):
    """Bytes that the compiled gradient needs beside its arguments and results."""
    import jax

    def loss(trained, others, images):
        logits, others = model.stateless_call(trained, others, images, training=True)
        return logits.sum(), others

    compiled = jax.jit(jax.grad(loss, has_aux=True)).lower(
        abstract(model.trainable_variables), abstract(model.non_trainable_variables), jax_images(model, batch)
    ).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def measures(batch):
    """{name: (which figure of ours, function of a model)} on the backend at hand."""
    if keras.backend.backend() == "tensorflow":
        return {
            "inference": ("activation_bytes", tensorflow_inference),
            "kept": ("training_bytes", lambda model: growth(lambda n: tensorflow_kept(model, n))),
        }
    return {
        "inference": ("activation_bytes", lambda model: growth(lambda n: jax_inference(model, n), 32, 64)),
        "residuals": ("training_bytes", lambda model: growth(lambda n: jax_residuals(model, n))),
        "compiled": ("training_bytes", lambda model: growth(lambda n: jax_compiled(model, n), batch, 2 * batch)),
    }


def main(args):
    found = measures(args.batch)
    print(f"Keras {keras.__version__} on {keras.backend.backend()}; MB an image: kerazoo, the backend, "
          "and their ratio")
    print(f"{'model':18} {'seconds':>7}" + "".join(f"{name:>26}" for name in found))
    for name in args.names or NAMES:
        model = kerazoo.create_model(name)
        start = time.perf_counter()
        analysis = kerazoo.analyze(model)
        cells = [f"{name:18} {time.perf_counter() - start:7.2f}"]
        for ours, measure in found.values():
            mine, theirs = getattr(analysis, ours), measure(model)
            cells.append(f"{mine / 2**20:9.2f} {theirs / 2**20:9.2f} {theirs / mine:6.3f}")
        print(" ".join(cells), flush=True)
        keras.backend.clear_session()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="models (default: twelve kinds)")
    parser.add_argument("--batch", type=int, default=4, help="images of the compiled gradient (default: %(default)s)")
    main(parser.parse_args())
