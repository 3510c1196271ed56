"""What a person at the terminal sees when something goes wrong."""
import pathlib
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
        elif raised_by_kerazoo(trace):
            print(f"error: {error}", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    def show_warning(message, category, filename, lineno, file=None, line=None):
        print(f"warning: {message}", file=file or sys.stderr)

    sys.excepthook = hook
    warnings.showwarning = show_warning


def raised_by_kerazoo(trace):
    return PACKAGE in pathlib.Path(traceback.extract_tb(trace)[-1].filename).parents
