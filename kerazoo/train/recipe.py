"""The command line that all recipes share."""
import argparse
import inspect

import keras

from kerazoo.errors import plain_errors
from kerazoo.registry import nearest
from kerazoo.train.distribution import read_hosts

PRECISIONS = ("float32", "bfloat16", "float16")


def recipe_arguments(doc, argv=None, *, options=None, smoke=None, **defaults):
    """Parse a recipe's options, set the devices and the precision, and seed every random generator.

    From then on, an error of the user's ends the script with its message alone, without a traceback.

    Args:
        doc: the recipe's docstring, shown by `--help`.
        argv: the options, a list of str; None: those of the command line.
        options: {"--name": arguments of `argparse.ArgumentParser.add_argument`}: the recipe's own options; their
            defaults are added to their help.
        smoke: {name: value} that `--smoke` puts in the place of defaults, for a run of a minute; what the user names
            wins. Its output is a folder of its own, that of `defaults` with "_smoke" behind it. None: no `--smoke`.
        defaults: `dataset`, `model`, `epochs`, `batch_size` and `output`, those of them that the recipe has as
            options, and values for any others in the place of their own.

    Returns:
        A namespace with these, `limit`, `seed`, `mixed_precision`, `devices`, `hosts`, `host_index`, `smoke`, and the
        recipe's own options.

    Raises:
        SystemExit: with a message, if an option is unknown or out of its range.
        ValueError: if `smoke` or `defaults` name an option that the recipe has not, or a device is not there.

    Example:
        >>> args = recipe_arguments(
        ...     __doc__, options={"--cutout": dict(type=positive, default=16, help="side of the hole in pixels")},
        ...     smoke=dict(dataset="mnist_sample", epochs=1, limit=512),
        ...     dataset="cifar10", model="resnet20", epochs=182, batch_size=128, output="runs/resnet20_cifar10",
        ... )
    """
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(doc), formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    flags = {}

    def option(flag, **arguments):
        flags[parser.add_argument(flag, **arguments).dest] = flag

    show = "(default: %(default)s)"
    for name, arguments in {
        "dataset": dict(help=f"mnist_sample, a name of tensorflow_datasets, or folder:PATH {show}"),
        "model": dict(help=f"a name from `kerazoo list` {show}"),
        "epochs": dict(type=positive, help=f"passes over the training images {show}"),
        "batch_size": dict(type=positive, help=f"images a step, over all devices {show}"),
        "output": dict(help=f"folder for checkpoints, logs and pictures {show}"),
    }.items():
        if name in defaults:
            if defaults[name] is None:
                arguments["help"] = arguments["help"].replace(show, "(default: the plan's)")
            option(f"--{name.replace('_', '-')}", **arguments)
    option("--limit", type=positive, help="at most so many images of each split, always the same (default: all)")
    option("--seed", type=whole, default=0, help=f"of weights, order and augmentation {show}")
    option("--mixed-precision", nargs="?", const="bfloat16", default="float32", choices=PRECISIONS,
           help="compute in 16 bits, keep weights in 32; without a value: bfloat16 (default: off, float32)")
    option("--devices", type=devices, help='share each batch among so many GPUs or TPU cores, or "all" (default: one)')
    option("--hosts", type=hosts, metavar="HOST:PORT,...",
           help="machines that train together, the same list on each, or auto: as the cluster says; on JAX")
    option("--host-index", type=whole, metavar="I",
           help="which of --hosts this machine is, from 0 on (default: the one that is its address)")
    for flag, arguments in (options or {}).items():
        shown = f"{arguments.get('help', '')} {show}" if "default" in arguments else arguments.get("help")
        option(flag, **{**arguments, "help": shown})
    if smoke is not None:
        option("--smoke", action="store_true", help="one minute on few images, to see that everything works")

    if wrong := {*defaults, *(smoke or {})} - set(flags):
        raise ValueError(f"The recipe has no option {some(wrong)}; it has {some(flags)}.")
    parser.set_defaults(smoke=False, **defaults)
    args, unknown = parser.parse_known_args(argv)
    if args.smoke:
        own_folder = {"output": f"{defaults['output']}_smoke"} if "output" in defaults else {}
        parser.set_defaults(**{**own_folder, **smoke})
        args, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}"
                     f"{nearest(unknown[0].split('=')[0], ['--help', *flags.values()])} --help lists the options")
    if args.host_index is not None:
        if not isinstance(args.hosts, list):
            parser.error("--host-index says which of --hosts this machine is: give --hosts HOST:PORT,HOST:PORT as well")
        if args.host_index >= len(args.hosts):
            parser.error(f"--host-index must be from 0 to {len(args.hosts) - 1}, as --hosts names {len(args.hosts)}; "
                         f"got {args.host_index}")
    plain_errors()
    prepare(args)
    return args


def prepare(args):
    """Devices first: several hosts must have met before anything computes."""
    if args.devices or args.hosts:
        from kerazoo.train import distribute

        distribute(args.devices, args.hosts, args.host_index)
    keras.utils.set_random_seed(args.seed)
    if args.mixed_precision != "float32":
        keras.config.set_dtype_policy(f"mixed_{args.mixed_precision}")


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


def devices(text):
    return text if text == "all" else bounded(text, 1, 'a positive whole number or "all"')


def hosts(text):
    try:
        return read_hosts(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def some(names):
    return ", ".join(sorted(names))
