"""How much room activations take: at most at once at inference, and until the backward pass in training."""
import math

import keras

from kerazoo.analyze.graph import needed


def size_of(value):
    """Bytes of a tensor for one image."""
    return math.prod(value.shape) * item_size(value.dtype)


def item_size(dtype):
    dtype = keras.backend.standardize_dtype(dtype)
    if dtype == "bool":
        return 1
    bits = int("".join(filter(str.isdigit, dtype)) or 32) if not dtype.startswith("float8") else 8
    return bits // 8


def peak(graph, order, deeds):
    """The most bytes that are alive at once where the calls run in this order, each freeing what none reads again.

    A layer that works value by value writes over its input if nothing reads that again; the image, which the caller
    holds, does not count and is not written over.
    """
    reads = {}
    for place in order:
        for number in needed(graph.calls[place]):
            reads[number] = reads.get(number, 0) + 1
    for number in graph.outputs:
        reads[number] = reads.get(number, 0) + 1
    room = {number: number for number in graph.inputs}  # value -> the value whose memory it lies in
    alive = dict.fromkeys(graph.inputs, 0)  # bytes
    waiting = {number: reads.get(number, 0) + 1 for number in graph.inputs}  # the caller's own
    highest = 0
    for place in order:
        call, deed, inputs = graph.calls[place], deeds[place], needed(graph.calls[place])
        if not inputs:
            continue
        highest = max(highest, sum(alive.values()) + deed.scratch * item_size(graph.values[call.outputs[0]].dtype))
        for number in call.outputs:
            home = None
            if deed.same in ("memory", "inference") and len(call.outputs) == 1:
                home = room[inputs[0]]
            elif deed.same == "size":
                size = size_of(graph.values[number])
                home = next((
                    room[one] for one in inputs
                    if waiting[room[one]] == sum(room[other] == room[one] for other in inputs)
                    and alive[room[one]] == size
                ), None)
            if home is None:
                home = number
                alive[home], waiting[home] = size_of(graph.values[number]), 0
            room[number] = home
            waiting[home] += reads.get(number, 0)
        highest = max(highest, sum(alive.values()))
        for number in call.outputs:
            if waiting[room[number]] == 0:
                alive.pop(room[number], None)
        for number in inputs:
            home = room[number]
            waiting[home] -= 1
            if waiting[home] == 0:
                alive.pop(home, None)
    return highest


def kept(graph, deeds):
    """What each call makes that the backward pass reads again: {place: bytes for one image}.

    A tensor that several layers need again is kept once, and counts where it is made. Nothing is kept for layers that
    are not trained and have no trained ones in front of them.
    """
    maker = {number: place for place, call in enumerate(graph.calls) for number in call.outputs}
    room = list(range(len(graph.values)))
    trains = set()  # values whose gradient is asked for
    values, extra = set(), {}
    for place, (call, deed) in enumerate(zip(graph.calls, deeds)):
        if not call.inputs:
            continue
        if deed.same == "memory" and len(call.outputs) == 1:
            room[call.outputs[0]] = room[call.inputs[0]]
        own = bool(getattr(call.operation, "trainable_weights", ()))
        if not own and not trains.intersection(call.inputs):
            continue
        trains.update(call.outputs)
        for what in (*(deed.for_weights if own else ()), *deed.for_input):
            if what == "input":
                values.update(room[number] for number in call.inputs)
            elif what == "output":
                values.update(room[number] for number in call.outputs)
            else:
                outputs = [graph.values[number] for number in call.outputs]
                extra[place] = extra.get(place, 0) + (
                    sum(map(size_of, outputs)) if what == "work"
                    else sum(math.prod(value.shape) for value in outputs) if what == "mask"
                    else what * item_size(outputs[0].dtype)
                )
    for number in values - set(graph.inputs):
        extra[maker[number]] = extra.get(maker[number], 0) + size_of(graph.values[number])
    return extra
