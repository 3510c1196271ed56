"""How far long work is: a bar on a terminal, two lines in a log."""
import contextlib
import sys
import time

DELAY = 2  # seconds; shorter work passes in silence


@contextlib.contextmanager
def progress(what, total, unit):
    """Show on stderr how far work has come.

    Args:
        what: a few words about the work.
        total: how many items there are.
        unit: what one of them is called.

    Returns:
        A context with a function, to be called with how many more items are done, 1 if it is called with nothing.

    Example:
        >>> with progress("Checking images", len(files), "file") as done:
        ...     for file in files:
        ...         check(file)
        ...         done()
    """
    from tqdm import tqdm

    begun, so_far, told = time.monotonic(), 0, False
    with tqdm(total=total, desc=what, unit=unit, delay=DELAY, leave=False, disable=None) as bar:

        def done(count=1):
            nonlocal so_far, told
            bar.update(count)
            so_far += count
            if bar.disable and not told and time.monotonic() - begun >= DELAY:
                told = True
                print(f"{what}: {total:,} {unit}s ...", file=sys.stderr, flush=True)
            if told and so_far == total:
                print(f"{what}: done after {time.monotonic() - begun:,.0f} s.", file=sys.stderr, flush=True)

        yield done
