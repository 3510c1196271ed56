"""What a person at the terminal sees when something goes wrong."""
import pathlib
import sys
import traceback

PACKAGE = pathlib.Path(__file__).parent


def plain_errors():
    """Let errors that kerazoo raises on purpose end the program with their message; others keep their traceback."""

    def hook(kind, error, trace):
        if issubclass(kind, KeyboardInterrupt):
            print("\nInterrupted.", file=sys.stderr)
        elif raised_by_kerazoo(trace):
            print(f"error: {error}", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = hook


def raised_by_kerazoo(trace):
    return PACKAGE in pathlib.Path(traceback.extract_tb(trace)[-1].filename).parents
