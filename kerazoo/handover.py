"""What a layer leaves for the loss of the same step: label mixing and auxiliary heads pass it on here."""
import threading
import weakref

import keras

# Not an attribute of the layer, because Keras tracks, wraps and saves those; and one store a thread, because
# tf.distribute.MirroredStrategy traces its replicas in threads that interleave.
_left = threading.local()


def leave(layer, value):
    """Keep a value until `take`, in this thread and this trace (of `tf.function` or `jax.jit`)."""
    store()[layer] = (trace(), value)


def take(layer):
    """What the layer left last, once; None if it left nothing in this thread and this trace."""
    where, value = store().pop(layer, (None, None))
    return value if where == trace() else None


def forget(layer):
    """Drop what nobody took: it must not reach the loss of another batch."""
    store().pop(layer, None)


def store():
    if not hasattr(_left, "by_layer"):
        _left.by_layer = weakref.WeakKeyDictionary()
    return _left.by_layer


def trace():
    """What tells one trace from another: a tensor of one is of no use in the next. None when run eagerly."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return None if tf.executing_eagerly() else id(tf.compat.v1.get_default_graph())
    if backend == "jax":
        from jax import core
        from jax.extend import core as extended

        # It moved from the one to the other.
        state = getattr(extended, "get_opaque_trace_state", None) or core.get_opaque_trace_state
        return state()
    return None
