"""Weights from files and from the net: read safely, fitted to a model by name, written in others' names too."""
from kerazoo.weights.imagenet import decode_predictions
from kerazoo.weights.layouts import load_weights, save_weights
from kerazoo.weights.readers import WeightsError
from kerazoo.weights.tags import list_weights

__all__ = ["WeightsError", "decode_predictions", "list_weights", "load_weights", "save_weights"]
