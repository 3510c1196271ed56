"""What `model.fit` and a `Run` cost, beside loops written by hand that take the same steps.

    python benchmarks/fit.py [--rounds 5] [--epochs 2] [--models lenet5] [--batches 32] [--small] [--markdown FILE]

LeNet-5 and ResNet-20 on the digits that come with kerazoo (decoded, in memory), batches of 32 and 256, SGD with
momentum; loss and accuracy are kept in all. Each backend, TensorFlow and JAX, is a process of its own. The contestants:

    loop              by hand, one compiled call a batch, on the batches of `kerazoo.data.load`
    fit               `model.fit` as it comes, on the same batches
    fit with a Run    the same with `kerazoo.train.Run`: its logs, progress, best weights, checkpoints
    fit, 32 steps     `compile(steps_per_execution=32)`
    ..., XLA          `jit_compile=True`; on JAX everything is compiled by XLA
    device            by hand, one compiled call an epoch (`tf.function` with a loop inside, `jax.lax.scan`) on images
                      that lie on the device in one order: no input, no Python; what there would be to win, were Keras's
                      trainer to do that. (Not ResNet-20 on JAX: in a loop, XLA's convolutions are 20 times slower on a
                      CPU.)

In each round every contestant trains some epochs, a first one of which is not counted; every other round goes the other
way around. An epoch is all from the end of the one before to its own end. What is printed is the median of the rounds,
and the median of the ratios within rounds, in brackets the lowest and the highest: times over those of the loop and of
plain `fit`; 1.05 is five percent slower. On a machine that others use, neither means much.
"""
import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

MODELS = {"lenet5": {}, "resnet20": {"preprocessing": "unit"}}
BATCHES = (32, 256)
STEPS = 32
TARGETS = {"fit with a Run": ("fit", 1.01), f"fit, {STEPS} steps": ("loop", 1.05)}
BACKENDS = ("tensorflow", "jax")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=BACKENDS, help="that one alone, in this process")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=2, help="counted epochs of a round (default: %(default)s)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="(default: all)")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES, help="sizes (default: 32 256)")
    parser.add_argument("--small", action="store_true", help="few images, to try the script")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="write the tables there as well")
    args = parser.parse_args(argv)
    if args.backend:
        return measure_all(args)
    load = os.getloadavg()[0]
    command = [sys.executable, __file__, "--rounds", str(args.rounds), "--epochs", str(args.epochs)]
    command += ["--models", *args.models, "--batches", *map(str, args.batches)]
    sections = [
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {processor()}; load before the start {load:.1f}",
        f"Python {platform.python_version()}, keras {version('keras')}, tensorflow {version('tensorflow')}, "
        f"jax {version('jax')}; {args.rounds} rounds of {args.epochs} epochs",
    ]
    for backend in BACKENDS:
        lines = subprocess.run(
            [*command, "--backend", backend, *(["--small"] if args.small else [])],
            check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "KERAS_BACKEND": backend},
        ).stdout.splitlines()
        sections += [table(backend, json.loads(line)) for line in lines if line.startswith("{")]
    text = "\n\n".join(sections)
    print(text)
    if args.markdown:
        args.markdown.write_text(f"{text}\n")
    return None


def version(name):
    return importlib.metadata.version(name)


def processor():
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def table(backend, found):
    rows = [
        f"## {found['model']}, batches of {found['batch']}, {backend}", "",
        "|  | images/s | ms a step | time over the loop's | over fit's |", "| --- | --- | --- | --- | --- |",
    ]
    rounds = found["seconds"]
    for way, times in rounds.items():
        seconds = statistics.median(times)
        cells = [f"{found['images'] / seconds:,.0f}", f"{1000 * seconds / found['steps']:.2f}"]
        for other in ("loop", "fit"):
            ratios = [one / two for one, two in zip(times, rounds[other])]
            cells.append("" if way == other else (
                f"{statistics.median(ratios):.3f} ({min(ratios):.2f} - {max(ratios):.2f})"
            ))
        rows.append(f"| {way} | {' | '.join(cells)} |")
    rows.append("")
    for way, (other, target) in TARGETS.items():
        ratio = statistics.median(one / two for one, two in zip(rounds[way], rounds[other]))
        reached = "reached" if ratio <= target else "not reached"
        rows.append(f"- {way}: {ratio:.3f} times the time of {other} (target: at most {target}; {reached})")
    return "\n".join(rows)


def measure_all(args):
    os.environ["KERAS_BACKEND"] = args.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in args.models:
        for batch in args.batches:
            print(json.dumps(measure(name, batch, args)), flush=True)


def measure(name, batch, args):
    """{"seconds": {contestant: [those of an epoch, the median of each round]}}, and what an epoch is."""
    import kerazoo

    limits = {"lenet5": (None, 1600), "resnet20": (1024, 256)}
    limit = limits[name][args.small]
    data = kerazoo.data.load("mnist_sample", "train", batch_size=batch, limit=limit)

    def build(**options):
        import keras

        keras.utils.set_random_seed(0)
        model = kerazoo.create_model(name, classes=10, input_shape=data.image_shape, **MODELS[name])
        model.compile(
            keras.optimizers.SGD(1e-3, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"], **options,
        )
        return model

    ways = {"loop": Loop(build(), data), "fit": Fit(build(), data), "fit with a Run": FitWithRun(build(), data)}
    ways[f"fit, {STEPS} steps"] = Fit(build(steps_per_execution=STEPS), data)
    if args.backend == "tensorflow":
        ways["loop, XLA"] = Loop(build(), data, jit_compile=True)
        ways["fit, XLA"] = Fit(build(jit_compile=True), data)
    if (args.backend, name) != ("jax", "resnet20"):
        ways["device"] = Device(build(), data, batch)
    seconds = {way: [] for way in ways}
    for contestant in ways.values():
        contestant.epochs(1)  # tracing and compiling
    for turn in range(args.rounds):
        for way in sorted(ways, reverse=turn % 2 == 1):
            # There is nothing to warm up in an epoch of one call.
            times = ways[way].epochs(1) if way == "device" else ways[way].epochs(args.epochs + 1)[1:]
            seconds[way].append(statistics.median(times))
    return {"model": name, "batch": batch, "images": data.num_examples, "steps": len(data), "seconds": seconds}


class Fit:
    """`model.fit`."""

    def __init__(self, model, data):
        self.model, self.data = model, data

    def epochs(self, count):
        """Seconds of each of so many epochs."""
        import keras

        ends = [time.perf_counter()]
        # First in the list: what other callbacks do at the end of an epoch falls into the next.
        clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
        self.fit(count, clock)
        return [after - before for before, after in zip(ends, ends[1:])]

    def fit(self, count, clock):
        self.model.fit(self.data, epochs=count, verbose=0, shuffle=False, callbacks=[clock])


class FitWithRun(Fit):
    def fit(self, count, clock):
        from kerazoo.train import Run

        with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
            with contextlib.redirect_stdout(nowhere), Run(folder, self.model, monitor="accuracy") as run:
                self.model.fit(
                    run.data(self.data), epochs=count, verbose=0, shuffle=False, callbacks=[clock, *run.callbacks()]
                )


class Loop:
    """A loop by hand over the same batches."""

    def __init__(self, model, data, jit_compile=None):
        import keras

        self.model, self.data = model, data
        model.optimizer.build(model.trainable_variables)
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            self.totals = [tf.Variable(0.0), tf.Variable(0.0), tf.Variable(0.0)]
            self.step = tf.function(self.tensorflow_step, jit_compile=jit_compile)
            self.epoch = self.tensorflow_epoch
        else:
            import jax

            self.step = jax.jit(self.jax_step, donate_argnums=0)
            # Copies: a step gives the memory of its state to the next.
            self.state = [
                [variable.value + 0 for variable in variables]
                for variables in (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
            ]
            self.epoch = self.jax_epoch

    def epochs(self, count):
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            loss, _ = self.epoch()
            assert loss == loss
            times.append(time.perf_counter() - begun)
        return times

    def tensorflow_step(self, images, labels):
        import tensorflow as tf

        model = self.model
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = model.loss(labels, logits)
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply(gradients, model.trainable_variables)
        count = tf.cast(tf.shape(images)[0], tf.float32)
        right = tf.reduce_sum(tf.cast(tf.argmax(logits, -1) == labels, tf.float32))
        for total, value in zip(self.totals, (loss * count, right, count)):
            total.assign_add(value)

    def tensorflow_epoch(self):
        for total in self.totals:
            total.assign(0.0)
        for images, labels in self.data:
            self.step(images, labels)
        return self.tensorflow_figures()

    def tensorflow_figures(self):
        loss, right, count = (float(total) for total in self.totals)
        return loss / count, right / count

    def jax_step(self, state, totals, images, labels):
        import jax
        import jax.numpy as jnp

        model, (trainable, others, rule) = self.model, state

        def loss_of(trainable, others):
            logits, others = model.stateless_call(trainable, others, images, training=True)
            return model.loss(labels, logits), (logits, others)

        (loss, (logits, others)), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, others)
        trainable, rule = model.optimizer.stateless_apply(rule, gradients, trainable)
        right = jnp.sum(jnp.argmax(logits, -1) == labels)
        totals = totals + jnp.stack([loss * len(images), right.astype("float32"), jnp.float32(len(images))])
        return [trainable, others, rule], totals

    def jax_epoch(self):
        import numpy as np

        totals = np.zeros(3, "float32")
        for images, labels in self.data:
            self.state, totals = self.step(self.state, totals, images, labels)
        loss, right, count = np.asarray(totals)
        return loss / count, right / count


class Device(Loop):
    """An epoch is one call, on whole batches that lie on the device; time is scaled to all images."""

    def __init__(self, model, data, batch):
        import keras

        import kerazoo

        super().__init__(model, data)
        images, labels = kerazoo.data.arrays(data)
        count = len(images) // batch
        self.share = count * batch / len(images)
        batches = [keras.ops.convert_to_tensor(one[: count * batch].reshape(count, batch, *one.shape[1:]))
                   for one in (images, labels)]
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            def steps():
                for index in tf.range(count):
                    self.tensorflow_step(batches[0][index], batches[1][index])

            compiled = tf.function(steps)

            def epoch():
                for total in self.totals:
                    total.assign(0.0)
                compiled()
                return self.tensorflow_figures()
        else:
            import jax
            import numpy as np

            def steps(state, images, labels):
                carry = state, np.zeros(3, "float32")
                return jax.lax.scan(lambda at, batch: (self.jax_step(*at, *batch), None), carry, (images, labels))[0]

            compiled = jax.jit(steps, donate_argnums=0)

            def epoch():
                self.state, totals = compiled(self.state, *batches)
                loss, right, count = np.asarray(totals)
                return loss / count, right / count

        self.epoch = epoch

    def epochs(self, count):
        return [seconds / self.share for seconds in super().epochs(count)]


if __name__ == "__main__":
    main()
