"""How fast exports answer, side by side."""
import concurrent.futures
import dataclasses
import multiprocessing
import pathlib
import statistics
import time

import numpy as np

from kerazoo.export import runtimes
from kerazoo.export.placing import size_of


@dataclasses.dataclass(frozen=True)
class Timing:
    """What was measured of one export.

    Attributes:
        megabytes: size of its files, in units of 1e6 bytes.
        load_seconds: from the start of loading to the first answer.
        seconds: {batch size: seconds that a batch took, one figure a round}.
        probabilities: for all images, (images, classes).
    """

    megabytes: float
    load_seconds: float
    seconds: dict
    probabilities: np.ndarray

    def latency(self, batch):
        """Median milliseconds of a batch."""
        return 1e3 * statistics.median(self.seconds[batch])

    def throughput(self, batch):
        """Images a second, in batches of that size."""
        return batch / statistics.median(self.seconds[batch])


def benchmark(exports, images, *, batches=(1, 8), rounds=7, seconds=1.0, threads=None, progress=None):
    """Time exports beside each other, in turns, each in a process of its own.

    A round takes each export for `seconds` a batch size, so that a machine which slows down for a while slows all down.
    All but the one that is measured are idle. A figure is the median over rounds of the median batch of a round.

    Args:
        exports: {name: path of an export, or (function, arguments) that answers with an object like that of
            `runtimes.load`}; the function must be importable, as for `multiprocessing`.
        images: uint8 (images, height, width, channels), as the models take them.
        batches: sizes of batches to time.
        rounds: how often each is taken, at least 1.
        seconds: how long a round measures one batch size of one export.
        threads: how many CPU threads each may use; None: what each takes by itself.
        progress: called with a sentence before each step; None: nothing is said.

    Returns:
        {name: `Timing`}.

    Raises:
        ValueError, FileNotFoundError, ImportError: as `runtimes.load` does.

    Example:
        >>> timings = benchmark({"SavedModel": "saved_models/resnet18", "ONNX": "resnet18.onnx"}, images)
        >>> timings["ONNX"].latency(1)
        21.4
    """
    progress = progress or (lambda sentence: None)
    context = multiprocessing.get_context("spawn")
    workers = {name: concurrent.futures.ProcessPoolExecutor(1, mp_context=context) for name in exports}
    try:
        started, answers = {}, {}
        for name, export in exports.items():
            progress(f"loading {name}")
            load = export if isinstance(export, tuple) else (runtimes.load, (export, threads))
            started[name] = workers[name].submit(prepare, load, images[:1]).result()
            answers[name] = workers[name].submit(classify, images, max(batches)).result()
        times = {name: {batch: [] for batch in batches} for name in exports}
        for turn in range(rounds):
            for name, worker in workers.items():
                progress(f"round {turn + 1} of {rounds}: {name}")
                for batch in batches:
                    repeated = np.resize(images, (batch, *images.shape[1:]))
                    times[name][batch].append(worker.submit(burst, repeated, seconds).result())
    finally:
        for worker in workers.values():
            worker.shutdown(cancel_futures=True)
    return {
        name: Timing(
            size_of(pathlib.Path(started[name][1])) / 1e6 if started[name][1] else float("nan"),
            started[name][0], times[name], answers[name],
        )
        for name in exports
    }  # fmt: skip


# What a worker's process holds.
_loaded = None


def prepare(load, images):
    """In the worker: load, answer once; return the seconds, and the path where there is one."""
    global _loaded
    function, arguments = load
    begun = time.perf_counter()
    _loaded = function(*arguments)
    _loaded.run(images)
    return time.perf_counter() - begun, str(arguments[0]) if arguments else ""


def classify(images, batch):
    parts = [_loaded.run(images[start : start + batch])["probabilities"] for start in range(0, len(images), batch)]
    return np.concatenate(parts)


def burst(images, seconds):
    """In the worker: the median seconds of a batch, over so many seconds and three batches at least."""
    _loaded.run(images)
    taken, end = [], time.perf_counter() + seconds
    while len(taken) < 3 or time.perf_counter() < end:
        begun = time.perf_counter()
        _loaded.run(images)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)
