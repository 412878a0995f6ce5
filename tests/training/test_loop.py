"""Training: learns, is reproducible, goes on where it stopped, and ends in a bundle."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from qpbridge.cli.train import train as train_command
from qpbridge.errors import QpbridgeError
from qpbridge.evaluation.calibration import Judged
from qpbridge.evaluation.labelled import DataSource, Sample
from qpbridge.models import load_bundle
from qpbridge.models.definition import build_network
from qpbridge.training.build import _judge, load_groups
from qpbridge.training.certainty import calibrate
from qpbridge.training.data import PatchSampler
from qpbridge.training.export import metadata, receptive_reach, write_bundle
from qpbridge.training.loop import TrainConfig, train
from qpbridge.training.losses import OFFSET_UNIT, nuclei_loss
from qpbridge.training.readme import readme
from qpbridge.training.recipe import NETWORK, Recipe, read_recipe
from qpbridge.training.tasks import TASKS

TINY = {**NETWORK, "out_channels": 4, "channels": [8, 8, 8], "strides": [2, 2], "num_res_units": 1}


def discs():
    rows, columns = np.indices((128, 128))
    labels = np.zeros((128, 128), np.uint16)
    for number, (y, x) in enumerate(np.random.default_rng(0).uniform(0, 128, (25, 2)), 1):
        labels[np.hypot(rows - y, columns - x) < 9] = number
    image = np.where(labels[..., None] > 0, (90, 50, 140), (230, 180, 210)).astype(np.uint8)
    return image, labels


@pytest.fixture(scope="module")
def sampler():
    image, labels = discs()
    samples = [Sample("discs", image, labels, 0.5)]
    return PatchSampler([(1.0, samples)], TASKS["nuclei"], mpp=0.5, size=32)


def config(steps, **changes):
    return TrainConfig(TINY, steps=steps, batch=2, patch=32, **changes)


def weights(network):
    return torch.cat([value.float().ravel() for value in network.state_dict().values()])


def test_it_learns(sampler, tmp_path):
    rows = []
    train(config(80, learning_rate=0.01), sampler, tmp_path, progress=rows.append)
    assert rows[-1]["foreground"] < 0.6 * rows[0]["foreground"]
    table = (tmp_path / "curve.csv").read_text().splitlines()
    assert table[0].startswith("step,minutes,learning_rate,foreground") and len(table) == 5


def test_a_stopped_run_goes_on_as_if_it_had_not_been(sampler, tmp_path):
    class Stop(Exception):  # noqa: N818
        pass

    def stop(row):
        raise Stop

    whole = train(config(40), sampler, tmp_path / "whole")
    with pytest.raises(Stop):
        train(config(40), sampler, tmp_path / "parts", checkpoint_seconds=0, progress=stop)
    state = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)
    assert state["state"]["step"] == 19
    parts = train(config(40), sampler, tmp_path / "parts")
    assert torch.equal(weights(whole), weights(parts))
    other = train(config(40, seed=1), sampler, tmp_path / "other")
    assert not torch.equal(weights(whole), weights(other))
    with pytest.raises(QpbridgeError, match="other settings"):
        train(config(41), sampler, tmp_path / "parts")


def test_a_run_bound_by_time_stops(sampler, tmp_path):
    bound = TrainConfig(TINY, minutes=0.02, batch=2, patch=32)
    train(bound, sampler, tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["state"]["step"] > 0 and 1.2 <= state["state"]["spent"] < 30
    with pytest.raises(QpbridgeError, match="either the minutes or the steps"):
        train(TrainConfig(TINY), sampler, tmp_path)


def test_the_loss_is_lowest_for_the_truth(sampler):
    _, target = sampler.batch(2, np.random.default_rng(0))
    target[:, 0] = (target[:, 0] > 0.5).float()
    perfect = torch.cat(
        [(target[:, :1] * 2 - 1) * 12, target[:, 1:2], target[:, 2:4] / OFFSET_UNIT], 1
    )
    best = nuclei_loss(perfect, target)
    assert all(float(value) < 0.01 for value in best.values())
    for channel, name in ((0, "foreground"), (1, "distance"), (2, "offset"), (3, "offset")):
        worse = perfect.clone()
        worse[:, channel] = worse[:, channel].roll(6, -1)
        assert nuclei_loss(worse, target)[name] > best[name] + 0.01


def test_the_command_writes_a_working_bundle(tmp_path):
    image, labels = discs()
    for part, pixels in (("images", image), ("labels", labels)):
        (tmp_path / "root" / "set" / part).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "root" / "set" / part / "one.png")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f"""
        decoder = "nuclei"
        mpp = 0.5
        patch = 96
        network = {{ {
            ", ".join(
                f"{k} = {json.dumps(v)}"
                for k, v in TINY.items()
                if k not in ("norm", "act", "bias")
            )
        }, norm = "BATCH", bias = false }}
        [about]
        license = "CC0"
        [decode]
        threshold = 0.4
        [[train]]
        folder = "set"
        mpp = 0.5
        [[validation]]
        folder = "set"
        mpp = 0.5
        title = "the same again"
        """
    )
    root, output = str(tmp_path / "root"), tmp_path / "mine"
    arguments = ["--recipe", str(recipe), "--data", root, "-o", str(output), "--device", "cpu"]
    result = CliRunner().invoke(train_command, [*arguments, "--steps", "3", "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    bundle = load_bundle(output)
    assert printed["scores"] == bundle.scores and bundle.scores["the same again"]["objects"] > 10
    assert bundle.decode == {"mpp": 0.5, "threshold": 0.4} and bundle.license == "CC0"
    areas = np.bincount(labels.ravel())[1:] * 0.25
    assert areas.min() <= bundle.nucleus_um2 <= areas.max()
    training = bundle.metadata["qpbridge"]["training"]
    assert training["steps"] == 3 and training["patch"] == 96
    with torch.inference_mode():
        assert bundle.network()(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).shape == (
            1,
            4,
            32,
            32,
        )
    for wrong in ([], ["--steps", "3", "--minutes", "1"], ["--steps", "3", "--mpp", "0.5"]):
        assert CliRunner().invoke(train_command, [*arguments, *wrong]).exit_code == 2


def test_the_best_weights_are_kept_and_a_run_without_progress_ends(sampler, tmp_path):
    scores = iter([0.1, 0.5, *[0.4] * 18])
    seen = []

    def validate(network):
        assert not network.training
        seen.append(weights(network).clone())
        return next(scores)

    best = train(config(800), sampler, tmp_path, validate=validate)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    assert state["step"] < 800 and state["best_score"] == 0.5
    assert torch.equal(weights(best), seen[1])
    table = pd.read_csv(tmp_path / "curve.csv")
    assert table["score"].dropna().tolist()[:3] == [0.1, 0.5, 0.4]


def test_a_run_goes_on_while_nothing_is_found(sampler, tmp_path):
    train(config(400), sampler, tmp_path, validate=lambda _: 0.0)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    assert state["step"] == 400
    assert state["best_check"] == state["check"]


def test_a_run_can_begin_with_weights(sampler, tmp_path):
    first = train(config(20), sampler, tmp_path / "first")
    again = train(config(1, learning_rate=0), sampler, tmp_path / "again", start=first.state_dict())
    parameters = [torch.cat([p.ravel() for p in n.parameters()]) for n in (first, again)]
    assert torch.allclose(*parameters, atol=1e-4)
    other = {name: torch.zeros(1) for name in first.state_dict()}
    with pytest.raises(QpbridgeError, match="another network"):
        train(config(1), sampler, tmp_path / "other", start=other)


@pytest.mark.parametrize("decoder", TASKS)
def test_every_task_learns(decoder, tmp_path):
    image, labels = discs()
    task = TASKS[decoder]
    sampler = PatchSampler([(1.0, [Sample("discs", image, labels, 1.0)])], task, mpp=1.0, size=32)
    network = {**TINY, "out_channels": len(task.channels)}
    rows = []
    settings = TrainConfig(network, steps=60, batch=2, patch=32, learning_rate=0.01)
    train(settings, sampler, tmp_path, progress=rows.append)
    assert rows[-1]["foreground"] < 0.9 * rows[0]["foreground"]


def write_set(folder, names, csv=""):
    image, labels = discs()
    for part, pixels in (("images", image), ("labels", labels)):
        (folder / part).mkdir(parents=True)
        for name in names:
            Image.fromarray(pixels).save(folder / part / f"{name}.png")
    if csv:
        (folder / "patients.csv").write_text(csv)


def test_patients_are_never_on_both_sides(tmp_path):
    names = [f"{patient}_{i}" for patient in "abcde" for i in range(4)]
    write_set(tmp_path / "named", names)
    write_set(tmp_path / "listed", ["x", "y", "z"], "patient ID, name\n1, x\n1, y\n2, z\n")
    recipe = Recipe(
        "glands",
        1.0,
        (
            DataSource(tmp_path / "named", 1.0, patient="^([a-z])_"),
            DataSource(tmp_path / "listed", None),
        ),
        holdout=0.3,
    )
    training, validation = load_groups(recipe, seed=3)
    for (_, kept), (_, held) in zip(training, validation, strict=True):
        assert kept and held
        assert not {s.patient for s in kept} & {s.patient for s in held}
    assert {s.patient for s in training[0][1]} | {s.patient for s in validation[0][1]} == set(
        "abcde"
    )
    assert {s.mpp for s in training[1][1]} == {1.0}
    for pattern, message in (("^[a-z]_", "no group"), ("^([0-9])", "no patient in 'a_0'")):
        wrong = replace(recipe, train=(DataSource(tmp_path / "named", 1.0, patient=pattern),))
        with pytest.raises(QpbridgeError, match=message):
            load_groups(wrong, seed=3)


def test_a_recipe_bounds_the_scale_that_is_estimated(tmp_path):
    write_set(tmp_path / "set", ["one"])
    path = tmp_path / "recipe.toml"
    sources = """
        [[train]]
        folder = "set"
        {}
        [[train]]
        folder = "set"
    """
    head = 'decoder = "nuclei"\nmpp = 0.5\n'
    path.write_text(head + sources.format("mpp = [0.14, 0.19]\nnucleus_um2 = 6.3"))
    recipe = read_recipe(path, tmp_path)
    (_, (bounded,)), (_, (free,)) = load_groups(recipe, 0)[0]
    assert bounded.mpp == pytest.approx(np.sqrt(6.3 / 30) * free.mpp) and 0.14 < bounded.mpp < 0.19
    first, second = metadata(recipe, 16, {}, {})["qpbridge"]["data"]["train"]
    assert first["mpp"] is None and first["mpp_range"] == [0.14, 0.19] and "mpp_range" not in second
    path.write_text(head + sources.format("mpp = [0.14]"))
    with pytest.raises(QpbridgeError, match=r"recipe\.toml"):
        read_recipe(path, tmp_path)


def test_a_trained_model_is_calibrated_and_shows_how_well(tmp_path):
    rng = np.random.default_rng(4)
    probability = rng.uniform(0.5, 1, 1200)
    right = rng.random(1200) < probability**2
    halves = [Judged(probability[i::2], right[i::2], np.full(600, 1 / 600)) for i in (0, 1)]
    section = calibrate([halves, halves], tmp_path / "docs")
    assert section["objects"] == 2400
    assert section["error"] < 0.06 < section["error_uncalibrated"]
    assert (tmp_path / "docs" / "reliability.csv").is_file()
    assert calibrate([], tmp_path) is None
    few = halves[0]._replace(**{k: v[:9] for k, v in halves[0]._asdict().items()})
    assert calibrate([[few, few]], tmp_path) is None
    recipe = Recipe("nuclei", 0.5, (), network=TINY)
    network = build_network(recipe.network_definition).eval()
    output = tmp_path / "mine"
    write_bundle(output, network, recipe, training={}, scores={}, calibration=section)
    assert load_bundle(output).calibration.right == tuple(section["right"])
    assert "## Detection probability" in (output / "docs" / "README.md").read_text()


def test_each_validation_set_counts_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "qpbridge.training.build.quick_score",
        lambda name, bundle, samples, network: 0.2 if len(samples) == 4 else 0.8,
    )
    recipe = Recipe("nuclei", 0.5, (), network=TINY)
    sample = Sample("one", *discs(), 0.5)
    judge = _judge(recipe, tmp_path, [[sample] * 4, [sample]])
    assert judge(build_network(recipe.network_definition)) == pytest.approx(0.5)
    assert _judge(recipe, tmp_path, []) is None


def test_fine_tuning_takes_what_the_model_was_and_says_so(tmp_path):
    write_set(tmp_path / "set", ["p1", "p2", "p3", "p4", "p5"])
    arguments = ["--data", str(tmp_path / "set"), "--mpp", "0.5", "--steps", "2", "--device", "cpu"]
    output = tmp_path / "mine"
    arguments += ["--init", "nuclei_he", "--batch-size", "1", "-o", str(output)]
    result = CliRunner().invoke(train_command, arguments)
    assert result.exit_code == 0, result.output
    mine, first = load_bundle(output), load_bundle("nuclei_he")
    assert mine.decode == first.decode and mine.mpp == first.mpp
    assert mine.network_definition == first.network_definition
    assert mine.training["init"]["name"] == "nuclei_he" and not mine.commercial_use
    assert first.license in mine.license
    text = (output / "docs" / "README.md").read_text()
    for part in ("CC BY 4.0", "Training began with", "2 steps", "| set | images |"):
        assert part in text
    wrong = CliRunner().invoke(train_command, [*arguments, "--target", "glands"])
    assert wrong.exit_code == 2 and "nuclei" in wrong.output


def test_the_halo_is_what_the_network_sees():
    three = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 5))
    assert receptive_reach(three, 1) == 5  # 1 + 2, and the 2 by which the result is shifted
    strided = build_network(TINY).eval()
    assert 8 <= receptive_reach(strided, 4) <= 40 and receptive_reach(strided, 4) % 4 == 0


@pytest.mark.parametrize("scores", [{}, {"one set": {"images": 1, "aji": 0.5}}])
def test_a_readme_tells_of_validation_only_where_there_was_some(scores):
    bundle = load_bundle("nuclei_he")
    own = bundle.metadata["qpbridge"]
    own = {**own, "scores": scores, "data": {**own["data"], "holdout": 0.2}}
    text = readme(replace(bundle, metadata={**bundle.metadata, "qpbridge": own}), curve=False)
    assert ("set aside for validation" in text) == bool(scores)
    assert ("no images to validate on" in text) != bool(scores)
