"""How long the end of an iterator of tf.data takes, with TensorFlow's tuning of parallelism and without it.

    python benchmarks/iterators.py [--iterators 60] [--seconds 1]

Keras ends one at the end of each epoch and of each validation, and training waits for it. `kerazoo.data.load` leaves
the tuning off.
"""
import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def ending(tuned, seconds):
    """Seconds that the end of an iterator takes which has lived for so long."""
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = tuned
    data = tf.data.Dataset.range(10**9).map(lambda number: number + 1, num_parallel_calls=2).batch(64).prefetch(2)
    iterator, end = iter(data.with_options(options)), time.perf_counter() + seconds
    while time.perf_counter() < end:
        next(iterator)
        time.sleep(0.002)
    begun = time.perf_counter()
    del iterator
    return time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterators", type=int, default=60, help="of each kind (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1, help="that each lives (default: %(default)s)")
    args = parser.parse_args()
    found = {True: [], False: []}
    for _ in range(args.iterators):
        for tuned, endings in found.items():
            endings.append(ending(tuned, args.seconds))
    print(f"| tuned | iterators that lived {args.seconds:g} s | took over 10 ms to end | median | longest |")
    print("|---|---|---|---|---|")
    for tuned, endings in found.items():
        late = sum(one > 0.01 for one in endings)
        print(f"| {'yes' if tuned else 'no'} | {len(endings)} | {late} | {1e3 * statistics.median(endings):.1f} ms "
              f"| {1e3 * max(endings):.0f} ms |")


if __name__ == "__main__":
    main()
