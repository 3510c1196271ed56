"""Learning rates over time."""
import keras


@keras.saving.register_keras_serializable(package="kerazoo")
class WarmupCosine(keras.optimizers.schedules.CosineDecay):
    """A linear rise to the peak, then half a cosine down to zero, counted in epochs.

    Args:
        peak: the highest learning rate, above 0.
        epochs: of the whole training, warm-up included.
        warmup: epochs of the rise, from 0 to below `epochs`.
        steps: batches an epoch, as `len(train)` gives them.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> keras.optimizers.AdamW(WarmupCosine(2e-3, epochs=15, warmup=1, steps=len(train)))

    Reference:
        Loshchilov, Hutter: SGDR, 2017, https://arxiv.org/abs/1608.03983; Goyal et al.: Accurate, Large Minibatch SGD,
        2017, https://arxiv.org/abs/1706.02677 (warm-up).
    """

    def __init__(self, peak, epochs, warmup=0, steps=1, name="WarmupCosine"):
        if not peak > 0:
            raise ValueError(f"peak must be a learning rate above 0; got {peak!r}.")
        if not (epochs > 0 and 0 <= warmup < epochs and steps > 0):
            raise ValueError(
                "epochs and steps must be above 0, and warmup from 0 to below epochs; "
                f"got epochs={epochs!r}, warmup={warmup!r}, steps={steps!r}."
            )
        self.peak, self.epochs, self.warmup, self.steps = peak, epochs, warmup, steps
        decay = round((epochs - warmup) * steps)
        if warmup:
            super().__init__(0.0, decay, warmup_target=peak, warmup_steps=round(warmup * steps), name=name)
        else:
            super().__init__(peak, decay, name=name)

    def get_config(self):
        return {
            "peak": self.peak, "epochs": self.epochs, "warmup": self.warmup, "steps": self.steps, "name": self.name,
        }
