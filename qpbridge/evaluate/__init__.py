"""How well a segmentation agrees with the truth."""

from qpbridge.evaluate.metrics import InstanceScores, instance_scores

__all__ = ["InstanceScores", "instance_scores"]
