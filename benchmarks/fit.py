"""What `model.fit` and a `Run` cost: beside a hand-written compiled loop that takes the same steps.

    python benchmarks/fit.py [--backend jax] [--rounds 3] [--small]

LeNet-5 and ResNet-20 on the embedded digits, batches of 32 and 256, loss and accuracy kept in all: `fit` with a `Run`
(logs, best weights, checkpoints), plain `fit`, `fit` with several steps an execution, and a loop over the same data set
with the model's own step, compiled. Rounds are interleaved; seconds an epoch are medians, the first epoch of each round left
out. Ratios are time over that of plain `fit`: below 1, faster.
"""
import argparse
import os
import platform
import statistics
import tempfile
import time

MODELS = {"lenet5": {}, "resnet20": {"preprocessing": "unit"}}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="tensorflow", choices=("tensorflow", "jax"))
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--epochs", type=int, default=4, help="of a round, the first one not counted (default: 4)")
    parser.add_argument("--steps", type=int, default=16, help="of an execution, where several are (default: 16)")
    parser.add_argument("--small", action="store_true", help="a tenth of the images, to try the script")
    args = parser.parse_args(argv)
    os.environ.update(KERAS_BACKEND=args.backend)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    print(f"{time.strftime('%Y-%m-%d')}, {args.backend}, Keras {keras.__version__}, Python {platform.python_version()}, "
          f"{os.cpu_count()} CPU cores, {args.rounds} rounds")
    print(f"{'model':10}{'batch':>6}{'fit, s':>9}{'with Run':>10}{f'{args.steps} steps':>10}{'by hand':>9}")
    for name, options in MODELS.items():
        for batch in 32, 256:
            limit = 1000 if args.small or name == "resnet20" else None
            times = compare(name, options, batch, limit, args)
            fit, others = times.pop("fit"), times.values()
            print(f"{name:10}{batch:6}{fit:9.3f}" + "".join(
                f"{time / fit:{width}.3f}" for time, width in zip(others, (10, 10, 9))
            ), flush=True)


def compare(name, options, batch, limit, args):
    """Median seconds of an epoch for each way."""
    import keras

    import kerazoo

    data = kerazoo.data.load("mnist_sample", "train", batch_size=batch, limit=limit)

    def build(steps=1):
        keras.utils.set_random_seed(0)
        model = kerazoo.create_model(name, classes=10, input_shape=data.image_shape, **options)
        model.compile(
            keras.optimizers.SGD(1e-3, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"], steps_per_execution=steps,
        )
        return model

    ways = {
        "fit": Fit(build(), data), "with Run": FitWithRun(build(), data), "steps": Fit(build(args.steps), data),
        "by hand": ByHand(build(), data),
    }
    times = {way: [] for way in ways}
    for _ in range(args.rounds):
        for way, contestant in ways.items():
            times[way] += contestant.epochs(args.epochs)[1:]
    return {way: statistics.median(values) for way, values in times.items()}


class Fit:
    def __init__(self, model, data):
        self.model, self.data = model, data

    def epochs(self, count):
        clock = Clock()
        self.fit(count, clock)
        return clock.times

    def fit(self, count, clock):
        self.model.fit(self.data, epochs=count, verbose=0, shuffle=False, callbacks=[clock.callback()])


class FitWithRun(Fit):
    def fit(self, count, clock):
        from kerazoo.train import Run

        with tempfile.TemporaryDirectory() as folder, Silence(), Run(folder, self.model, monitor="accuracy") as run:
            self.model.fit(
                run.data(self.data), epochs=count, verbose=0, shuffle=False, callbacks=[clock.callback(), *run.callbacks()]
            )


class ByHand(Fit):
    """The model's own step, compiled, over the same data: what is left of `fit` without its loop and its callbacks."""

    def epochs(self, count):
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            step = getattr(self, "step", None) or tf.function(self.model.train_step, jit_compile=self.model.jit_compile)
            self.step, times = step, []
            for _ in range(count):
                begun = time.perf_counter()
                self.model.reset_metrics()
                for batch in self.data:
                    logs = step(batch)
                float(logs["loss"])
                times.append(time.perf_counter() - begun)
            return times
        import jax

        model = self.model
        if not hasattr(self, "step"):
            model.optimizer.build(model.trainable_variables)
            x, y = next(iter(self.data))
            model.train_on_batch(x, y)  # the metrics make their variables
            self.step = jax.jit(model.train_step, donate_argnums=0)
            self.state = tuple(
                [variable.value + 0 for variable in variables] for variables in (
                    model.trainable_variables, model.non_trainable_variables, model.optimizer.variables,
                    model.metrics_variables,
                )
            )
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            for batch in self.data:
                logs, self.state = self.step(self.state, batch)
            float(logs["loss"])
            times.append(time.perf_counter() - begun)
        return times


class Clock:
    """Seconds from the end of an epoch to the end of the next, everything in between."""

    def __init__(self):
        self.times = []

    def callback(self):
        import keras

        # First in the list, so that what the others do at the end of an epoch falls into the next.
        last = [time.perf_counter()]

        def end(epoch, logs):
            now = time.perf_counter()
            self.times.append(now - last[0])
            last[0] = now

        return keras.callbacks.LambdaCallback(on_epoch_end=end)


class Silence:
    def __enter__(self):
        import contextlib

        self.redirect = contextlib.redirect_stdout(open(os.devnull, "w"))
        self.redirect.__enter__()

    def __exit__(self, *error):
        self.redirect.__exit__(*error)


if __name__ == "__main__":
    main()
