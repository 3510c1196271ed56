"""Room for very deep networks."""
import contextlib
import sys


@contextlib.contextmanager
def deep_graphs():
    """Room for Keras's walk through the graph, which recurses once a layer: resnet1202 has 4,211 of them."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 20_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
