"""HoVer-Net's maps to nuclei, beside MONAI's own way, and maps of classes to objects."""

import numpy as np
import pytest
import torch
from monai.apps.pathology.transforms.post.array import HoVerNetInstanceMapPostProcessing
from monai.transforms import ComputeHoVerMaps

from qpbridge.decode.hover import decode_hover, most_frequent
from qpbridge.decode.semantic import decode_semantic


def nuclei(shape=(200, 240), count=30, seed=0):
    """Ellipses, many of which touch."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    rows, columns = np.indices(shape)
    for number in range(1, count + 1):
        y, x, a, b = *rng.uniform(0, shape), *rng.uniform(10, 16, 2)
        labels[((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1] = number
    return labels


def maps_of(labels, noise=0.0):
    distances = np.asarray(ComputeHoVerMaps()(labels[None]))
    maps = np.stack([labels > 0, *distances]).astype(np.float32)
    rng = np.random.default_rng(1)
    return (maps + rng.normal(0, noise, maps.shape)).astype(np.float32)


def matched(truth, found):
    """Share of the true objects above 100 pixels that are found with IoU over 0.6."""
    hits = []
    for value in np.unique(truth)[1:]:
        mask = truth == value
        if mask.sum() < 100:
            continue
        best = np.bincount(found[mask]).argmax()
        other = found == best
        hits.append(best > 0 and (mask & other).sum() / (mask | other).sum() > 0.6)
    return np.mean(hits)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_nuclei_that_touch_are_parted_as_monai_does_or_better(noise):
    labels = nuclei()
    maps = maps_of(labels, noise)
    ours = decode_hover(maps, mpp=0.25).labels
    logits = np.stack([0.5 - maps[0], maps[0] - 0.5]) * 20
    _, theirs = HoVerNetInstanceMapPostProcessing(sobel_kernel_size=21)(
        torch.from_numpy(logits).float(), torch.from_numpy(maps[1:])
    )
    theirs = np.asarray(theirs).reshape(labels.shape).astype(int)
    assert matched(labels, ours) > 0.9
    assert matched(labels, ours) >= matched(labels, theirs)


def test_a_nucleus_does_not_depend_on_what_is_far_away():
    labels = nuclei()
    whole = decode_hover(maps_of(labels), mpp=0.25).labels
    part = decode_hover(maps_of(labels)[:, 40:160, 40:200], mpp=0.25).labels
    inner = np.s_[30:-30, 30:-30]
    one, two = whole[40:160, 40:200][inner], part[inner]
    assert ((one > 0) == (two > 0)).all()
    pairs = np.unique(np.stack([one.ravel(), two.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def test_each_nucleus_has_the_type_of_most_of_its_pixels():
    labels = nuclei(count=6)
    maps = maps_of(labels)
    types = np.where(labels > 0, labels % 2 + 1, 0)
    types[:, ::9] = 0
    chance = np.eye(3, dtype=np.float32)[types].transpose(2, 0, 1)
    found = decode_hover(np.concatenate([maps, chance]), mpp=0.25)
    for number in range(1, found.labels.max() + 1):
        inside = types[found.labels == number]
        assert found.classes[number - 1] == np.bincount(inside[inside > 0]).argmax() - 1
    assert decode_hover(maps, mpp=0.25).classes is None


def test_types_by_hand():
    labels = np.array([[1, 1, 1, 2, 2, 0]], np.int32)
    assert most_frequent(labels, np.array([[2, 2, 1, 0, 0, 3]])).tolist() == [1, -1]
    assert most_frequent(np.zeros((2, 2), np.int32), np.zeros((2, 2), int)).tolist() == []


def test_wrong_maps_are_refused():
    for count in (2, 4):
        with pytest.raises(ValueError, match="Three maps"):
            decode_hover(np.zeros((count, 8, 8), np.float32), mpp=0.25)
    assert decode_hover(np.zeros((3, 8, 8), np.float32), mpp=0.25).labels.max() == 0


def test_semantic_maps_by_hand():
    maps = np.zeros((3, 20, 30), np.float32)
    maps[0] = 1
    maps[:, 2:12, 2:12] = np.array([0.1, 0.8, 0.1])[:, None, None]
    maps[:, 2:12, 12:22] = np.array([0.2, 0.2, 0.6])[:, None, None]
    maps[:, 5:8, 5:8] = np.array([0.9, 0.1, 0.0])[:, None, None]
    maps[:, 17:18, 2:4] = np.array([0.0, 1.0, 0.0])[:, None, None]
    found = decode_semantic(maps, mpp=1.0)
    assert found.labels.max() == 2 and found.classes.tolist() == [0, 1]
    assert (found.labels > 0).sum() == 200 - 9
    assert found.probability.tolist() == pytest.approx([0.9, 0.8])
    one = decode_semantic(1 - maps[:1], mpp=1.0)
    assert one.labels.max() == 1 and one.classes is None
    assert decode_semantic(maps, mpp=0.1).labels.max() == 0
    with pytest.raises(ValueError, match="Maps"):
        decode_semantic(np.zeros((8, 8), np.float32), mpp=1.0)
