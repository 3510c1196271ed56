"""What a training script needs beside Keras: schedules, a run that can be continued, a recipe's arguments."""
from kerazoo.train.recipe import recipe_arguments
from kerazoo.train.resume import Run
from kerazoo.train.schedules import WarmupCosine

__all__ = ["Run", "WarmupCosine", "recipe_arguments"]
