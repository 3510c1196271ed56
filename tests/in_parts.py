"""Run the tests in parts, each folder in a process of its own.

    python tests/in_parts.py [--minutes N] [OPTIONS OF PYTEST]

TensorFlow keeps what it has compiled until its process ends: all tests in one process take more memory than many
machines have. The parts run one after the other; two at a time were no faster on two cores, which TensorFlow shares
anyway. After so many minutes, no further part is begun; those are named at the end. With a path among the options, it
is one run of pytest as usual.
"""
import os
import pathlib
import subprocess
import sys
import time

TESTS = pathlib.Path(__file__).parent
NONE_SELECTED = 5  # pytest's exit status where -k or -m leaves no test


def main(options):
    minutes = float("inf")
    if options[:1] == ["--minutes"]:
        minutes, options = float(options[1]), options[2:]
    if "-h" in options or "--help" in options:
        print(__doc__)
    if any(os.path.exists(option.split("::")[0]) for option in options) or {"-h", "--help"} & set(options):
        return subprocess.call([sys.executable, "-m", "pytest", *options])
    began, ended, left_out = time.monotonic(), {}, []
    for part, files in find_parts().items():
        if time.monotonic() - began > 60 * minutes:
            left_out.append(part)
            continue
        print(f"==> {part}", flush=True)
        ended[part] = subprocess.call([sys.executable, "-m", "pytest", *options, *files])
        if ended[part] == 2:  # Ctrl-C
            return 2
        if ended[part] == 1 and {"-x", "--exitfirst"} & set(options):
            return 1
    failed = [f"{part} (exit status {status})" for part, status in ended.items() if status not in (0, NONE_SELECTED)]
    print(f"==> {len(ended)} parts in {(time.monotonic() - began) / 60:.0f} minutes: "
          + (f"failed: {', '.join(failed)}" if failed else "passed")
          + (f"; NOT RUN, for lack of time: {', '.join(left_out)}" if left_out else ""))
    return 1 if failed else min(ended.values(), default=0)


def find_parts():
    """{folder: its test files}; what lies beside the folders is a part as well."""
    folders = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        folders.setdefault(os.path.relpath(file.parent), []).append(str(file))
    return folders


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
