"""The model class that hears of mixed labels and auxiliary heads."""
import keras
import numpy as np
from keras import ops

from kerazoo.models import layers


@layers.register
class TrainedWithLayers(keras.Model):
    """A functional model some of whose layers speak to the loss: label mixing and auxiliary heads.

    The loss counts each image once for each of its labels, and each auxiliary head by its weight. Keras calls
    `compute_loss` on every backend right after the forward pass, so that no train step is overridden.
    """

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        # In their order: each mixes what the one before has mixed.
        pairs, auxiliary = [], []
        if training:
            drawn = taken(layer.take_mixing() for layer in self.layers if hasattr(layer, "take_mixing"))
            pairs = [pair for one in drawn for pair in one]
            auxiliary = taken(layer.take_auxiliary() for layer in self.layers if hasattr(layer, "take_auxiliary"))
        if not pairs and not auxiliary:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        copies = 1
        if pairs and y is None:
            raise ValueError(
                "Label mixing needs labels, and fit was given none. Pass fit(images, labels), or a data set of both."
            )
        if pairs:
            factor = self.mean_factor(2 ** len(pairs))
            y, sample_weight, copies = mixed_targets(y, y_pred, sample_weight, pairs, factor)

        def loss_of(outputs):
            outputs = keras.tree.map_structure(lambda one: repeated(one, copies), outputs)
            return super(TrainedWithLayers, self).compute_loss(x, y, outputs, sample_weight, training)

        total = loss_of(y_pred)
        # Each call adds the regularization, which counts once.
        penalty = sum(ops.sum(loss) for loss in self.losses)
        for share, heads in auxiliary:
            total = total + share * sum(loss_of(logits) - penalty for logits in heads)
        return total

    def mean_factor(self, copies):
        """What the weights are to be multiplied by, where each image counts several times among those averaged over."""
        reductions = [getattr(loss, "reduction", None) or "sum_over_batch_size"
                      for loss in keras.tree.flatten(self.loss) if loss is not None]
        summed = [reduction == "sum" for reduction in reductions]
        if any(summed) and not all(summed):
            raise ValueError(
                "Label mixing weighs each image's labels alike for all losses; got losses with reduction='sum' beside "
                f"others: {', '.join(map(repr, sorted(set(reductions))))}. Compile with one reduction."
            )
        return 1 if all(summed) else copies


def mixed_targets(y, y_pred, sample_weight, pairs, factor):
    """Each image once for each of its labels, which weigh what their shares are: integer or one-hot, of any heads.

    One batch, so that Keras keeps its account of each head's loss as it always does.

    Returns:
        (labels, weights, copies): labels and weights of copies * batch.
    """
    batch = ops.shape(keras.tree.flatten(y_pred)[0])[0]
    if sample_weight is None:
        weight = ops.ones((batch,), "float32")
    else:
        # Keras takes (batch, 1) as well, which would meet the shares (batch,) as a square.
        weight = keras.tree.map_structure(lambda one: flat_weight(one, batch), sample_weight)
    terms = [(y, weight)]
    for partner, keep in pairs:
        def pick(tree, partner=partner):
            return keras.tree.map_structure(lambda one: ops.take(one, partner, axis=0), tree)

        def scale(tree, share):
            return keras.tree.map_structure(lambda one: one * share, tree)

        keep = ops.cast(keep, "float32")
        terms = [
            term for labels, weight in terms
            for term in ((labels, scale(weight, keep)), (pick(labels), scale(pick(weight), 1 - keep)))
        ]
    labels, weights = (
        keras.tree.map_structure(lambda *parts: ops.concatenate(parts, axis=0), *parts) for parts in zip(*terms)
    )
    return labels, keras.tree.map_structure(lambda one: one * factor, weights), len(terms)


def flat_weight(weight, batch):
    weight = ops.cast(weight, "float32")
    if np.prod(weight.shape[1:]) != 1:
        raise ValueError(
            f"Label mixing needs one weight an image, sample_weight (batch,); got shape {tuple(weight.shape)}. Average "
            "the others over the image, or train without MixUp and CutMix."
        )
    return ops.reshape(weight, (batch,))


def repeated(tensor, copies):
    return tensor if copies == 1 else ops.concatenate([tensor] * copies, axis=0)


def taken(answers):
    return [answer for answer in answers if answer is not None]
