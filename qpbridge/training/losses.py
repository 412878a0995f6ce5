"""Losses: one term per map, as plain functions of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F

OFFSET_UNIT = 8.0  # pixels: the network draws offsets in this unit, so that they are of order 1


def nuclei_loss(output: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """Compare the raw output of a nuclei network with targets.

    Parameters
    ----------
    output : float tensor, shape (N, 4, H, W)
        Foreground logit, distance, offset x and y in units of `OFFSET_UNIT` pixels.
    target : float tensor, shape (N, 5, H, W)
        As `qpbridge.training.data.PatchSampler.batch` makes them; the foreground may be a fraction.

    Returns
    -------
    dict of scalar tensors
        ``foreground`` (binary cross entropy + soft Dice), ``distance`` (squared error, nuclei
        weighing more), ``offset`` (smooth L1 inside nuclei), and their weighted sum ``total``.
    """
    truth, inside = target[:, 0], target[:, 4]
    foreground = _region_loss(output[:, 0], truth)
    error = (output[:, 1] - target[:, 1]).square()
    weight = 1 + 3 * truth
    distance = (error * weight).sum() / weight.sum()
    nucleus = (truth > 0.5) * inside
    miss = F.smooth_l1_loss(
        output[:, 2:4], target[:, 2:4] / OFFSET_UNIT, reduction="none", beta=0.25
    ).sum(1)
    offset = (miss * nucleus).sum() / nucleus.sum().clamp(min=1)
    parts = {"foreground": foreground, "distance": distance, "offset": offset}
    total = parts["foreground"] + 4 * distance + 0.5 * offset
    return {**parts, "total": total}


def profile_loss(output: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """Compare the raw output of a network for glands or vessels with targets.

    Parameters
    ----------
    output : float tensor, shape (N, 3, H, W)
        Logits of foreground, contour and lumen.
    target : float tensor, shape (N, 4, H, W)
        The maps, as fractions, and where they are known.

    Returns
    -------
    dict of scalar tensors
        Binary cross entropy + soft Dice of each map; of the lumen inside of objects only, where it
        means something.
    """
    known = target[:, 3]
    parts = {
        "foreground": _region_loss(output[:, 0], target[:, 0], known),
        "contour": _region_loss(output[:, 1], target[:, 1], known),
        "lumen": _region_loss(output[:, 2], target[:, 2], known * target[:, 0]),
    }
    return {**parts, "total": parts["foreground"] + parts["contour"] + 0.3 * parts["lumen"]}


def line_loss(output: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """Compare the raw output of a network for lines (N, 1, H, W) with targets (N, 2, H, W)."""
    loss = _region_loss(output[:, 0], target[:, 0], target[:, 1])
    return {"foreground": loss, "total": loss}


def _region_loss(
    logit: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Binary cross entropy + soft Dice, of the pixels that have a weight."""
    if weight is None:
        weight = torch.ones_like(truth)
    entropy = F.binary_cross_entropy_with_logits(logit, truth, weight, reduction="sum")
    chance = logit.sigmoid() * weight
    overlap = (chance * truth).sum()
    size = (chance.square() + truth.square() * weight).sum()
    return entropy / weight.sum().clamp(min=1) + 1 - (2 * overlap + 1) / (size + 1)
