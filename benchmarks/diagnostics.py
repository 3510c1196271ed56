"""Whether `kerazoo.train.Diagnostics` tells what is wrong, and what it costs.

    python benchmarks/diagnostics.py runs development      # the runs on which the rules were developed
    python benchmarks/diagnostics.py runs held             # the others, which the rules were run on once
    python benchmarks/diagnostics.py runs held --plain     # the same trainings without it: their curves
    python benchmarks/diagnostics.py overhead [--rounds 3] # the time of epochs with it and without it, in turns
    python benchmarks/diagnostics.py table                 # both as Markdown, from what was written to --folder

Broken runs are broken on purpose in one way each, on real data (MNIST, Fashion-MNIST, CIFAR-10); healthy ones are short
trainings with sensible settings. A broken run counts as told where the first finding is the one expected; a healthy one
where there is none. The runs are in `diagnosis_cases.py`, `diagnosis_healthy.py`, `diagnosis_harder.py`,
`diagnosis_mistakes.py` and `diagnosis_held.py`; those of the last file are held aside: they were written by someone who
had not seen the rules, and were run once on them.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import diagnosis_harder  # noqa: F401, its cases, and those of the next, join the others
import diagnosis_healthy  # noqa: F401
import diagnosis_held  # noqa: F401
import diagnosis_mistakes  # noqa: F401
from diagnosis_cases import CASES, images, ready

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
FOLDER = pathlib.Path("runs/diagnostics")
HALVES = ("development", "held")


def trainings(half, only):
    """(case, model, images, labels, validation, epochs, batch size) of each case, made as if it were the only one."""
    import keras

    for one in CASES:
        if one.half != half or only and one.name not in only:
            continue
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        try:
            made = one.make()
        except Exception as error:  # a mistake in one case is no reason to leave out the others
            print(f"{one.name} cannot be made: {error!r}", flush=True)
            continue
        yield one, *made


def run_cases(half, only, folder):
    from kerazoo.train import Diagnostics

    folder.mkdir(parents=True, exist_ok=True)
    for one, model, x, y, validation, epochs, batch in trainings(half, only):
        begun = time.monotonic()
        diagnostics = Diagnostics((x, y), verbose=False)
        history = model.fit(x, y, validation_data=validation, epochs=epochs, batch_size=batch, verbose=0,
                            callbacks=[diagnostics]).history
        found = [finding.kind for finding in diagnostics.findings]
        told = found[:1] == [one.expected] if one.expected else not found
        row = {
            "half": half, "name": one.name, "expected": one.expected, "found": found, "told": told,
            "epochs": len(history["loss"]), "seconds": time.monotonic() - begun,
            "loss": str(round(float(history["loss"][-1]), 3)),
            "accuracy": round(float(history["accuracy"][-1]), 3), "report": str(diagnostics),
        }
        (folder / f"{half}_{one.name}.json").write_text(json.dumps(row))
        print(f"{'told  ' if told else 'MISSED'} {one.name}: wanted {one.expected or 'nothing'}, found {found}; "
              f"{row['epochs']} epochs, {row['seconds']:.0f} s, loss {row['loss']}, accuracy {row['accuracy']}",
              flush=True)
        if not told or os.environ.get("SHOW"):
            print(diagnostics, flush=True)


def show_curves(half, only):
    """Train without the callback, and print what each epoch came to."""
    for one, model, x, y, validation, epochs, batch in trainings(half, only):
        begun = time.monotonic()
        history = model.fit(x, y, validation_data=validation, epochs=epochs, batch_size=batch, verbose=0).history
        seconds = time.monotonic() - begun
        print(f"{one.name} ({one.expected or 'healthy'}): {len(x)} images, {seconds:.0f} s", flush=True)
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            print(f"    {name:12}", " ".join(f"{value:.4g}" for value in history[name]), flush=True)


# What it costs.

MODELS = {"lenet5": ("mnist_sample", 9000, 64), "resnet20": ("cifar10", 2000, 64)}


class Clock:
    """Times of whole epochs, as a callback that is made when Keras is there."""

    def __new__(cls):
        import keras

        class Times(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                self.last, self.seconds = time.perf_counter(), []

            def on_epoch_end(self, epoch, logs=None):
                now = time.perf_counter()
                self.seconds.append(now - self.last)
                self.last = now

        return Times()


def overhead(name, rounds, epochs):
    """{with, without: [[seconds of each epoch] of each round]}, and what the callback counted of its own time."""
    import keras

    import kerazoo
    from kerazoo.train import Diagnostics

    source, count, batch = MODELS[name]
    (x, y), _ = images(source, count)
    found = {"with": [], "without": [], "own": []}
    for number in range(rounds):
        ways = ("with", "without") if number % 2 else ("without", "with")
        for way in ways:
            keras.backend.clear_session()
            keras.utils.set_random_seed(0)
            build = getattr(kerazoo, name)
            model = ready(build(input_shape=x.shape[1:], **({"preprocessing": "unit"} if name == "resnet20" else {})))
            clock = Clock()
            diagnostics = [Diagnostics((x, y), verbose=False)] if way == "with" else []
            # The clock is first: its epoch begins before the diagnostics' first measurement.
            model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=[*diagnostics, clock])
            seconds = clock.seconds
            if diagnostics:
                own = diagnostics[0].overhead
                found["own"].append(own)
                seconds = [seconds[0] + own["first"], *seconds[1:]]
            found[way].append(seconds)
    return found


def measure_overhead(rounds, epochs, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for backend in ("tensorflow", "jax"):
        for name in MODELS:
            code = (
                "import sys, json; sys.path.insert(0, 'benchmarks'); import diagnostics; "
                f"print(json.dumps(diagnostics.overhead({name!r}, {rounds}, {epochs})))"
            )
            out = subprocess.run(
                [sys.executable, "-c", code], check=True, capture_output=True, text=True,
                env={**os.environ, "KERAS_BACKEND": backend},
            ).stdout.splitlines()[-1]
            (folder / f"overhead_{backend}_{name}.json").write_text(out)
            print(overhead_row(backend, name, json.loads(out)), flush=True)


def overhead_row(backend, name, found):
    later = {way: [statistics.median(seconds[1:]) for seconds in found[way]] for way in ("with", "without")}
    ratios = [a / b for a, b in zip(later["with"], later["without"])]
    whole = [sum(a) / sum(b) for a, b in zip(found["with"], found["without"])]
    own = [100 * one["later"] / one["seconds"] for one in found["own"]]
    first = statistics.median(one["first"] for one in found["own"])
    return (
        f"| {name} | {backend} | {statistics.median(later['without']):.2f} | "
        f"{100 * (statistics.median(ratios) - 1):+.1f} ({100 * (min(ratios) - 1):+.1f} to "
        f"{100 * (max(ratios) - 1):+.1f}) | "
        f"{statistics.median(own):.1f} ({min(own):.1f} to {max(own):.1f}) | {first:.1f} | "
        f"{100 * (statistics.median(whole) - 1):+.1f} |"
    )


def table(folder):
    lines = []
    for half in HALVES:
        for healthy in (False, True):
            lines += ["", f"{'Healthy' if healthy else 'Broken'} runs, {half}:", "",
                      "| run | expected | found, first to last | | epochs | s |", "|---|---|---|---|---|---|"]
            for one in CASES:
                path = folder / f"{half}_{one.name}.json"
                if one.half == half and bool(one.expected) != healthy and path.exists():
                    row = json.loads(path.read_text())
                    lines.append(
                        f"| `{one.name}` | {one.expected or 'nothing'} | {', '.join(row['found']) or 'nothing'} | "
                        f"{'told' if row['told'] else '**missed**'} | {row['epochs']} | {row['seconds']:.0f} |"
                    )
    lines += ["", "| model | backend | s an epoch without | % more in an epoch (rounds) | % by its own clock | "
              "first measurement, s | % more in all, first epoch included |", "|---|---|---|---|---|---|---|"]
    for path in sorted(folder.glob("overhead_*.json")):
        _, backend, name = path.stem.split("_")
        lines.append(overhead_row(backend, name, json.loads(path.read_text())))
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("runs", "overhead", "table"))
    parser.add_argument("half", nargs="?", choices=HALVES, default="development")
    parser.add_argument("--only", nargs="*", help="names of runs")
    parser.add_argument("--plain", action="store_true", help="curves without the callback")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--folder", type=pathlib.Path, default=FOLDER)
    args = parser.parse_args(argv)
    if args.what == "runs" and args.plain:
        show_curves(args.half, args.only)
    elif args.what == "runs":
        run_cases(args.half, args.only, args.folder)
    elif args.what == "overhead":
        measure_overhead(args.rounds, args.epochs, args.folder)
    else:
        print(table(args.folder))


if __name__ == "__main__":
    main()
