"""Gradients, whichever backend Keras runs on."""
import keras


def slope(function, x):
    """The gradient of ``function(x)``, one score an image, on x; None where there is no way from one to the other.

    Raises:
        ValueError: if the backend computes none.
    """
    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            total = tf.reduce_sum(function(x))
        try:
            return tape.gradient(total, x)
        except LookupError:  # an operation without a gradient
            return None
    if backend == "jax":
        import jax

        return jax.grad(lambda x: function(x).sum())(x)
    if backend == "torch":
        import torch

        x = x.detach().requires_grad_(True)
        total = function(x).sum()
        return torch.autograd.grad(total, x, allow_unused=True)[0] if total.requires_grad else None
    raise ValueError(f"Gradients are computed on TensorFlow, JAX and PyTorch; Keras runs on {backend} here.")
