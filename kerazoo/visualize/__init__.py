"""Pictures of training, of augmentation and of what a model gets wrong; each function returns a matplotlib figure."""
from kerazoo.visualize.augmentation import augmentation_sheet
from kerazoo.visualize.predictions import mistakes
from kerazoo.visualize.training import curves

__all__ = ["augmentation_sheet", "curves", "mistakes"]
