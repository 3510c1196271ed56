"""Run the tests in parts, each folder in a process of its own, two at a time.

    python tests/in_parts.py [--jobs N] [OPTIONS OF PYTEST]

TensorFlow keeps what it has compiled until its process ends: all tests in one process take more memory than many
machines have. Two processes, because building and tracing models keeps one core busy. What a part prints comes when
it ends. With a path among the options, it is one run of pytest as usual.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

TESTS = pathlib.Path(__file__).parent
NONE_SELECTED = 5  # pytest's exit status where -k or -m leaves no test


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default: %(default)s)")
    args, options = parser.parse_known_args()
    if any(os.path.exists(option.split("::")[0]) for option in options):
        return subprocess.call([sys.executable, "-m", "pytest", *options])
    began = time.monotonic()
    # The longest first, so that none is left alone at the end: more lines take longer, on the whole.
    parts = sorted(find_parts(), key=lambda part: -sum(len(file.read_bytes()) for file in part[1]))
    failed, counts = [], {}
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        runs = [pool.submit(run, name, files, options) for name, files in parts]
        try:
            for done in concurrent.futures.as_completed(runs):
                name, status, output = done.result()
                print(f"==> {name}", output, sep="\n", flush=True)
                last = output.strip().rpartition("\n")[2].partition(" in ")[0]
                for count, what in re.findall(r"(\d+) (\w+)", last):
                    counts[what] = counts.get(what, 0) + int(count)
                if status not in (0, NONE_SELECTED):
                    failed.append(f"{name} (exit status {status})")
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)  # those that run have got the same signal
            return 130
    total = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    print(f"==> All parts: {total or 'no tests'} in {time.monotonic() - began:.0f} s"
          + (f"; failed: {', '.join(sorted(failed))}" if failed else ""))
    return 1 if failed else 0 if counts.keys() - {"deselected"} else NONE_SELECTED


def find_parts():
    """(name, test files) of each folder, and of what lies beside the folders."""
    folders = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        folders.setdefault(file.parent, []).append(file)
    return [(os.path.relpath(folder), files) for folder, files in folders.items()]


def run(name, files, options):
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *map(str, files)], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return name, ended.returncode, ended.stdout


if __name__ == "__main__":
    sys.exit(main())
