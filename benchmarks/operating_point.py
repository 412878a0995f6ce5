"""Score settings of the nuclei decoder on all validation sets of a recipe at once.

Prints, for the settings that are best and for the model's own: AJI, PQ, and the share of nuclei
missed and false in each set. The best have the highest mean over sets of AJI and PQ, of which each
part by which missed and false ones are out of balance is taken off (`BALANCE`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pandas as pd

from qpbridge.evaluation.labelled import Sample, load_source
from qpbridge.evaluation.objects import aji, count_errors, panoptic_quality
from qpbridge.evaluation.overlaps import Overlaps, overlaps
from qpbridge.evaluation.predict import draw_objects, place_of
from qpbridge.measurements.names import PROBABILITY
from qpbridge.models import load_bundle
from qpbridge.models.bundle import Bundle
from qpbridge.objects import ObjectTable
from qpbridge.outlines import areas_um2
from qpbridge.prediction.finders import choose_finder
from qpbridge.prediction.predict import whole_image
from qpbridge.prediction.search import Search, find_in_tiles, look_at, plan_search
from qpbridge.prediction.tiles.merge import TileObjects, numbered
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.prediction.tiles.plan import Tile
from qpbridge.prediction.tiles.run import Maps, Pixels
from qpbridge.training.recipe import read_recipe

BALANCE = 0.05
"""AJI that a difference of 100 % between the shares of missed and of false ones is worth."""

GRID: Mapping[str, tuple[float, ...]] = {
    "threshold": (0.35, 0.4, 0.45, 0.5, 0.55),
    "vote_sigma_um": (0.6, 0.75, 0.9),
    "min_votes": (0.2, 0.3, 0.4),
}
LEAST: Mapping[str, tuple[float, ...]] = {
    "min_probability": (0.0, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75),
    "min_area_um2": (4.0, 6.0, 9.0),
}
"""Settings that only drop nuclei: tried without decoding anew."""


class Scene(NamedTuple):
    """An image with the maps that a network drew of its tiles."""

    sample: Sample
    search: Search
    tiles: list[tuple[Pixels, Maps, Tile]]


def draw(network: TargetNetwork, sample: Sample) -> Scene:
    """Let a model draw all maps of an image."""
    place, tiles = place_of(sample), []
    with place.open() as slide:
        regions = place.regions or whole_image(slide)
        search = plan_search(slide, regions, place.mpp, network.bundle, by_hand=place.by_hand)
        search = look_at(search, slide, network.bundle)
        finder = choose_finder(network.bundle, search)

        def find(pixels: Pixels, maps: Maps, tile: Tile) -> TileObjects:
            tiles.append((pixels, maps, tile))
            return finder.find(pixels, maps, tile)

        for _ in find_in_tiles(search, slide, network, find, workers=1):  # in order
            pass
    return Scene(sample, search, tiles)


def with_settings(bundle: Bundle, settings: Mapping[str, float]) -> Bundle:
    """Give a model other settings of its decoder."""
    own = {**bundle.metadata["qpbridge"], "decode": {**bundle.decode, **settings}}
    return replace(bundle, metadata={**bundle.metadata, "qpbridge": own})


def decoded(bundle: Bundle, scene: Scene) -> ObjectTable:
    """Find the objects of an image in its maps."""
    finder = choose_finder(bundle, scene.search)
    found = finder.merge(
        numbered(finder.find(*tile), number) for number, tile in enumerate(scene.tiles)
    )
    return finder.place(found, scene.search.searched).objects


def without(table: Overlaps, kept: np.ndarray) -> Overlaps:
    """Drop predicted objects from a table of overlaps."""
    number = np.cumsum(kept) - 1
    pair = kept[table.predicted]
    return Overlaps(
        table.truth_area,
        table.predicted_area[kept],
        table.truth[pair],
        number[table.predicted[pair]],
        table.pixels[pair],
        table.size,
    )


def score(
    bundle: Bundle, scenes: list[Scene], settings: Mapping[str, float]
) -> Iterator[dict[str, float]]:
    """Score one set for all combinations of `LEAST`."""
    seen = []
    free = with_settings(bundle, {**settings, "min_probability": 0.0, "min_area_um2": 1.0})
    for scene in scenes:
        found, sample = decoded(free, scene), scene.sample
        labels = draw_objects(found, bundle, sample)
        there = np.setdiff1d(labels, 0) - 1
        area = areas_um2(found.geometries, scene.search.mpp)
        probability = found.measurement(PROBABILITY)
        seen.append((overlaps(sample.labels, labels), probability[there], area[there]))
    for values in itertools.product(*LEAST.values()):
        least = dict(zip(LEAST, values, strict=True))
        tables = [
            without(t, (p >= least["min_probability"]) & (a >= least["min_area_um2"]))
            for t, p, a in seen
        ]
        errors = np.array([count_errors(table) for table in tables]).sum(0)
        count = sum(len(table.truth_area) for table in tables)
        yield {
            **settings,
            **least,
            "aji": float(np.nanmean([aji(table) for table in tables])),
            "pq": float(np.nanmean([panoptic_quality(table) for table in tables])),
            "missed": errors[0] / count,
            "false": errors[1] / count,
        }


@click.command()
@click.argument("model")
@click.option("--recipe", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--best", default=10, show_default=True, help="How many settings to print.")
def main(model: str, recipe: Path, data: Path, best: int) -> None:
    """Try all settings of the grid with MODEL on the validation sets of a recipe."""
    bundle = load_bundle(model).uncalibrated()
    network = TargetNetwork(bundle, "auto")
    sets = {
        source.title: [draw(network, sample) for sample in load_source(source)]
        for source in read_recipe(recipe, data).validation
    }
    own = tuple(bundle.decode.get(name, 0.0) for name in GRID)
    rows = []
    for values in dict.fromkeys([own, *itertools.product(*GRID.values())]):
        settings = dict(zip(GRID, values, strict=True))
        for title, scenes in sets.items():
            rows += [{"set": title, **row} for row in score(bundle, scenes, settings)]
    table = pd.DataFrame(rows)
    names = [*GRID, *LEAST]
    table["worth"] = (table.aji + table.pq) / 2 - BALANCE * (table.missed - table.false).abs()
    mean = table.groupby(names)["worth"].mean().sort_values(ascending=False)
    for rank, (settings, worth) in enumerate(mean.items()):
        values = dict(zip(names, settings, strict=True))
        mine = all(values[name] == bundle.decode.get(name, 0.0) for name in names)
        if rank >= best and not mine:
            continue
        click.echo(f"{worth:.4f}  {values}{'  (as it is)' if mine else ''}")
        chosen = table[(table[names] == list(settings)).all(axis=1)]
        for row in chosen.itertuples():
            click.echo(
                f"    AJI {row.aji:.3f}  PQ {row.pq:.3f}  missed {row.missed:.1%}"
                f"  false {row.false:.1%}  {row.set}"
            )


if __name__ == "__main__":
    main()
