"""What a training script needs beside Keras: schedules, optimizers, transfer learning, runs that cannot be lost."""
import importlib

# Names resolve on first use, so that a schedule does not load what distributes over hosts.
FILES = {
    "diagnostics": ("Diagnostics",),
    "distribution": ("distribute", "prepare"),
    "find": ("find_learning_rate",),
    "optimizers": ("optimizer",),
    "recipe": ("recipe_arguments",),
    "resume": ("Run",),
    "schedules": (
        "OneCycle", "WarmupCosine", "WarmupInverseSquareRoot", "WarmupLinear", "WarmupPolynomial", "WarmupStep",
    ),
    "transfer": ("GradualUnfreezing", "fine_tune", "freeze", "stage_rates", "unfreeze"),
}
NAMES = {name: file for file, names in FILES.items() for name in names}

__all__ = sorted(NAMES)  # noqa: PLE0605


def __getattr__(name):
    if name not in NAMES:
        from kerazoo.registry import nearest

        raise AttributeError(f"kerazoo.train has no {name!r}{nearest(name, NAMES)}")
    value = getattr(importlib.import_module(f"kerazoo.train.{NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return __all__
