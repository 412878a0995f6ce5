"""How well a segmentation agrees with the truth."""

from qpbridge.evaluation.scores import image_scores, mean_scores

__all__ = ["image_scores", "mean_scores"]
