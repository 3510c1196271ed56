"""Run the tests in parts, each folder in a process of its own, two at a time.

    python tests/in_parts.py [--jobs N] [--minutes N] [OPTIONS OF PYTEST]

TensorFlow keeps what it has compiled until its process ends: all tests in one process take more memory than many
machines have. What a part prints comes when it ends. After so many minutes, no further part is begun; those are named
at the end. With a path among the options, it is one run of pytest as usual.
"""
import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time

TESTS = pathlib.Path(__file__).parent
INTERRUPTED, NONE_SELECTED = 2, 5  # exit statuses of pytest; the second where -k or -m leaves no test


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no part is begun")
    args, options = parser.parse_known_args()
    if any(os.path.exists(option.split("::")[0]) for option in options):
        return subprocess.call([sys.executable, "-m", "pytest", *options])
    began, ended, left_out = time.monotonic(), {}, []

    def run(files):
        if time.monotonic() - began > 60 * args.minutes:
            return None
        return subprocess.run(
            [sys.executable, "-m", "pytest", *options, *files], text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        runs = {pool.submit(run, files): part for part, files in find_parts().items()}
        try:
            for done in concurrent.futures.as_completed(runs):
                part, result = runs[done], done.result()
                if result is None:
                    left_out.append(part)
                    continue
                print(f"==> {part}", result.stdout, sep="\n", flush=True)
                ended[part] = result.returncode
                if result.returncode == INTERRUPTED or result.returncode == 1 and {"-x", "--exitfirst"} & {*options}:
                    pool.shutdown(cancel_futures=True)
                    break
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)  # those that run have got the same signal
            return 130
    failed = [f"{part} (exit status {status})" for part, status in ended.items() if status not in (0, NONE_SELECTED)]
    print(f"==> {len(ended)} parts in {(time.monotonic() - began) / 60:.0f} minutes: "
          + (f"failed: {', '.join(failed)}" if failed else "passed")
          + (f"; NOT RUN, for lack of time: {', '.join(left_out)}" if left_out else ""))
    return 1 if failed else min(ended.values(), default=0)


def find_parts():
    """{folder: its test files}, the longest files first, which take longest on the whole; none is left for the end.

    What lies beside the folders is a part as well.
    """
    folders = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        folders.setdefault(os.path.relpath(file.parent), []).append(str(file))
    return dict(sorted(folders.items(), key=lambda part: -sum(map(os.path.getsize, part[1]))))


if __name__ == "__main__":
    sys.exit(main())
