"""What a training script needs beside Keras: schedules, optimizers, transfer learning, runs that cannot be lost."""
from kerazoo.lazy import lazy_names

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
__all__, __getattr__, __dir__ = lazy_names(__name__, FILES)  # noqa: PLE0605
