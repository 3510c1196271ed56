"""The command line that all recipes share."""
import argparse
import inspect

import keras

from kerazoo.errors import plain_errors

PRECISIONS = ("float32", "bfloat16", "float16")


def recipe_arguments(doc, argv=None, **defaults):
    """Parse a recipe's options, seed every random generator and set the precision.

    From then on, an error of the user's ends the script with its message alone, without a traceback.

    Args:
        doc: the recipe's docstring, shown by `--help`.
        argv: the options, a list of str; None: those of the command line.
        defaults: `dataset`, `model`, `epochs`, `batch_size` and `output`.

    Returns:
        A namespace with `dataset`, `model`, `epochs`, `batch_size`, `seed`, `mixed_precision` and `output`.

    Raises:
        SystemExit: with a message, if an option is unknown or out of its range.

    Example:
        >>> args = recipe_arguments(__doc__, dataset="mnist_sample", model="lenet5", epochs=15, batch_size=128,
        ...                         output="runs/lenet5_mnist")
    """
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(doc), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    show = "(default: %(default)s)"
    option("--dataset", help=f"mnist_sample, a name of tensorflow_datasets, or folder:PATH {show}")
    option("--model", help=f"a name from `kerazoo list` {show}")
    option("--epochs", type=positive, help=f"passes over the training images {show}")
    option("--batch-size", type=positive, help=f"images a step {show}")
    option("--seed", type=whole, default=0, help=f"of weights, order and augmentation {show}")
    option("--mixed-precision", nargs="?", const="bfloat16", default="float32", choices=PRECISIONS,
           help="compute in 16 bits, keep weights in 32; without a value: bfloat16 (default: off, float32)")
    option("--output", help=f"folder for checkpoints, logs and pictures {show}")
    parser.set_defaults(**defaults)
    args = parser.parse_args(argv)
    plain_errors()
    keras.utils.set_random_seed(args.seed)
    if args.mixed_precision != "float32":
        keras.config.set_dtype_policy(f"mixed_{args.mixed_precision}")
    return args


def positive(text):
    return bounded(text, 1, "a positive whole number")


def whole(text):
    return bounded(text, 0, "a whole number from 0 on")


def bounded(text, least, wanted):
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"wanted {wanted}, got {text!r}")
    return value

