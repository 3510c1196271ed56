"""Pictures of training and of what a model gets wrong; each function returns a matplotlib figure."""
from kerazoo.visualize.predictions import mistakes
from kerazoo.visualize.training import curves

__all__ = ["curves", "mistakes"]
