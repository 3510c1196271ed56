"""Walks through Keras's graphs of layers, however deep."""
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


def nodes_behind(outputs, until=(), read=lambda node: node.input_tensors):
    """Keras's notes of all calls that tensors depend on, each behind those that it depends on.

    Args:
        outputs: a list of tensors.
        until: tensors that are taken as given.
        read: ``read(node)`` -> those of the inputs of a call that matter.

    Returns:
        A list of nodes, whose `operation` was called with their `arguments`.
    """
    given = set(map(id, until))
    order, seen, waiting = [], set(), [(tensor, False) for tensor in reversed(outputs)]
    while waiting:
        tensor, ready = waiting.pop()
        if id(tensor) in given:
            continue
        # Keras has no public way from a tensor to the call that made it.
        operation, number, _ = tensor._keras_history
        node = operation._inbound_nodes[number]
        if ready:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            waiting.append((tensor, True))
            waiting += [(one, False) for one in reversed(read(node))]
    return order
