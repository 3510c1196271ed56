"""Kill a training at random instants, let the same command go on, and compare it to the bit with one never cut.

    python benchmarks/kill.py 50                        # on TensorFlow
    python benchmarks/kill.py 50 --backend jax

A ResNet-20 with augmentation, label mixing, early stopping, plateau and averaged weights (EMA), which writes a
checkpoint after every batch; every other kill is aimed at the writing of one. Each run is killed with SIGKILL once or
twice. Compared at the end: weights, seeds, the optimizer's state with the averages, the history, the CSV log, the best
model, and what the callbacks have counted.
"""
import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

EPOCHS = 3
COUNTED = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter", "updates")


def train(folder):
    """One start of the training that is killed; writes its digest when it gets to the end."""
    folder = pathlib.Path(folder)
    os.dup2(os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(1, 2)
    import keras

    import kerazoo
    from kerazoo.augment import MixUp, RandomCrop, RandomFlip
    from kerazoo.train import Run, optimizer, state

    keras.utils.set_random_seed(0)
    data, validation, _ = kerazoo.data.load("mnist_sample", batch_size=16, image_size=16, limit=80, seed=0)
    model = kerazoo.resnet20(
        input_shape=data.image_shape, classes=data.classes, preprocessing="unit",
        augmentation=[RandomCrop(padding=2, seed=1), RandomFlip(seed=2), MixUp(0.2, seed=3)],
    )
    rule = optimizer(model, "sgd", 0.05, momentum=0.9, weight_decay=1e-4, ema=0.9, verbose=False)
    model.compile(
        rule, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"],
        jit_compile=keras.backend.backend() == "jax",  # XLA takes a minute for what TensorFlow does in seconds here
    )
    with Run(folder / "run", model, {"epochs": EPOCHS}, save_every=0) as run:
        callbacks = run.callbacks(early_stopping=2, plateau=1)
        history = model.fit(
            run.data(data), validation_data=validation, epochs=EPOCHS, initial_epoch=run.initial_epoch, shuffle=False,
            verbose=0, callbacks=callbacks,
        )
        arrays = state.read(model)[1]
        # Not the metrics: a run that was killed after its last epoch does not measure anything any more.
        digests = {
            name: hashlib.sha256(arrays[name].tobytes()).hexdigest()
            for name in sorted(arrays) if not name.startswith("metrics")
        }
        run.restore_best()
        digests["best"] = hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()
        digests["history"] = repr({name: list(map(float, row)) for name, row in history.history.items()})
        digests["log.csv"] = run.log_file.read_text()
        for name, callback in callbacks[-1].others.callbacks.items():
            digests[name] = repr({
                key: getattr(callback, key) for key in COUNTED if hasattr(callback, key)
            })
        (folder / "digests.json").write_text(json.dumps(digests))


def start(folder):
    process = multiprocessing.get_context("forkserver").Process(target=train, args=(str(folder),))
    process.start()
    return process


def finish(folder):
    """Let a training run to its end; returns seconds, and its digests."""
    begun = time.monotonic()
    process = start(folder)
    process.join()
    if process.exitcode:
        sys.exit(f"The training ended with {process.exitcode}:\n{(folder / 'output.txt').read_text()[-3000:]}")
    return time.monotonic() - begun, json.loads((folder / "digests.json").read_text())


def kill_and_finish(folder, kills, seconds, chance):
    """Kill the training that often, then let it end; returns digests, how many kills met it alive, and in a write."""
    alive = writing = 0
    while alive < kills:
        process = start(folder)
        process.join(chance.uniform(0.05, 1.0) * seconds)
        # Every other kill waits for the next write, and falls into the middle of it.
        aimed = chance.random() < 0.5
        while aimed and process.exitcode is None and not any((folder / "run").glob(".part.*")):
            time.sleep(0.0005)
        process.kill()
        process.join()
        if process.exitcode == 0 and alive:
            break
        if process.exitcode == 0:  # it had ended before it was killed for the first time: that is no trial
            shutil.rmtree(folder / "run")
            continue
        alive += 1
        writing += any((folder / "run").glob(".part.*"))
    return finish(folder)[1], alive, writing


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=int, nargs="?", default=50, help="how many trainings are killed (default: 50)")
    parser.add_argument("--backend", default="tensorflow", choices=("tensorflow", "jax", "torch"))
    parser.add_argument("--seed", type=int, default=0, help="of the instants (default: 0)")
    parser.add_argument("--kills", type=int, default=2, help="kills of a run, at most (default: 2)")
    args = parser.parse_args(argv)
    os.environ.update(KERAS_BACKEND=args.backend, TF_CPP_MIN_LOG_LEVEL="2")
    # Starting is most of the time: the modules are imported once, and what JAX has compiled is kept.
    modules = {"tensorflow": ["tensorflow"], "jax": ["jax"], "torch": ["torch"]}[args.backend]
    modules += ["keras", "kerazoo.augment", "kerazoo.train.resume"]
    multiprocessing.get_context("forkserver").set_forkserver_preload(modules)
    chance = random.Random(args.seed)
    same = killed = written = 0
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kill-")))
        os.environ.update(JAX_COMPILATION_CACHE_DIR=str(work / "jax"), JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")
        straight = [work / "straight", work / "again"]
        for folder in straight:
            folder.mkdir()
        first, expected = finish(straight[0])
        seconds, again = finish(straight[1])
        if again != expected:
            sys.exit("Two runs that were never cut differ: nothing to compare with.")
        print(f"{args.backend}: a run never cut takes {first:.1f} s, all compiled {seconds:.1f} s", flush=True)
        for number in range(args.runs):
            folder = work / str(number)
            folder.mkdir()
            found, alive, writing = kill_and_finish(folder, chance.randint(1, args.kills), seconds, chance)
            killed, written = killed + alive, written + writing
            different = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
            same += not different
            print(
                f"run {number + 1}: killed {alive} times ({writing} in a write), "
                f"{'identical' if not different else 'DIFFERENT: ' + ', '.join(different[:5])}", flush=True,
            )
            if different:
                shutil.copytree(folder, f"{tempfile.gettempdir()}/kill-different-{args.backend}-{number}")
            shutil.rmtree(folder)
    print(f"{args.backend}: {same} of {args.runs} identical to the bit; {killed} kills, {written} of them in a write")
    return 0 if same == args.runs else 1


if __name__ == "__main__":
    sys.exit(main())
