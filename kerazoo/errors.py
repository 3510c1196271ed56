"""What a person at the terminal sees when something goes wrong."""
import os
import pathlib
import re
import sys
import traceback
import warnings

PACKAGE = pathlib.Path(__file__).parent


def plain_errors():
    """Let errors that kerazoo raises on purpose end the program with their message; others keep their traceback.

    Warnings come as sentences too, without the line of code that raised them.
    """

    def hook(kind, error, trace):
        if issubclass(kind, KeyboardInterrupt):
            print("\nInterrupted.", file=sys.stderr)
        elif issubclass(kind, BrokenPipeError):
            # Whoever read the output, `head` say, has seen enough; Python must not try to flush the rest.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        elif raised_by_kerazoo(trace):
            print(f"error: {error}", file=sys.stderr)
        elif sentence := raised_inside_tensorflow(error):
            print(f"error: {sentence}", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    def show_warning(message, category, filename, lineno, file=None, line=None):
        print(f"warning: {message}", file=file or sys.stderr)

    sys.excepthook = hook
    warnings.showwarning = show_warning


def raised_by_kerazoo(trace):
    """Whether a `raise` of kerazoo's was the last to run; an error out of any other line is a defect."""
    last = traceback.extract_tb(trace)[-1]
    return PACKAGE in pathlib.Path(last.filename).parents and (last.line or "").startswith("raise")


def raised_inside_tensorflow(error):
    """The sentence of an error of kerazoo's that tf.data ran into, which TensorFlow puts as text into its own."""
    frames = list(re.finditer(r'File "(.+)", line \d+, in .*\n +(.*)\n', str(error)))
    if not frames or PACKAGE not in pathlib.Path(frames[-1][1]).parents or not frames[-1][2].startswith("raise"):
        return ""
    said = re.match(r"\s*\w+: (.*)", str(error)[frames[-1].end():])
    return said[1] if said else ""
