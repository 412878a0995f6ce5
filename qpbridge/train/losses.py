"""The loss of a nuclei network: one term per map, as plain functions of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F

OFFSET_UNIT = 8.0  # pixels: the network draws offsets in this unit, so that they are of order 1


def nuclei_loss(output: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """Compare raw network output with targets.

    Parameters
    ----------
    output : float tensor, shape (N, 4, H, W)
        Foreground logit, distance, offset x and y in units of `OFFSET_UNIT` pixels.
    target : float tensor, shape (N, 5, H, W)
        As `qpbridge.train.data.PatchSampler.batch` makes them; the foreground may be a fraction.

    Returns
    -------
    dict of scalar tensors
        ``foreground`` (binary cross entropy + soft Dice), ``distance`` (squared error, nuclei
        weighing more), ``offset`` (smooth L1 inside nuclei), and their weighted sum ``total``.
    """
    truth, inside = target[:, 0], target[:, 4]
    entropy = F.binary_cross_entropy_with_logits(output[:, 0], truth)
    chance = output[:, 0].sigmoid()
    overlap = (chance * truth).sum()
    dice = 1 - (2 * overlap + 1) / (chance.square().sum() + truth.square().sum() + 1)
    error = (output[:, 1] - target[:, 1]).square()
    weight = 1 + 3 * truth
    distance = (error * weight).sum() / weight.sum()
    nucleus = (truth > 0.5) * inside
    miss = F.smooth_l1_loss(
        output[:, 2:4], target[:, 2:4] / OFFSET_UNIT, reduction="none", beta=0.25
    ).sum(1)
    offset = (miss * nucleus).sum() / nucleus.sum().clamp(min=1)
    parts = {"foreground": entropy + dice, "distance": distance, "offset": offset}
    total = parts["foreground"] + 4 * distance + 0.5 * offset
    return {**parts, "total": total}
