"""MONAI bundles: where they are, what they say of themselves, and the network in them.

A bundle is a folder with ``configs/metadata.json``, ``configs/inference.json``, ``models/model.pt``
and ``LICENSE``. Beside MONAI's own keys, the metadata has a section ``qpbridge`` with everything
that this package needs to run the model; see `Bundle`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qpbridge import checks
from qpbridge.errors import ModelError
from qpbridge.models.archive import unpack_bundle
from qpbridge.models.config import (
    SCRIPT,
    WEIGHTS,
    config_path,
    path_classes,
    read_config,
    read_document,
)
from qpbridge.models.memory import machine_memory
from qpbridge.models.schema import check_metadata
from qpbridge.models.trust import digest_of, is_trusted, refuse_untrusted, trust_script
from qpbridge.objects import ImageType, PathClass
from qpbridge.slides.calibration import check_mpp

if TYPE_CHECKING:  # a bundle describes itself without torch, which takes seconds to import
    import torch
    from torch import nn

DEFAULT_MODELS = {"nuclei": "nuclei_he", "glands": "glands_he", "vessels": "vessels_he"}
"""The model of each target that is used where none is named."""


class Calibration(NamedTuple):
    """What a mean foreground probability is worth; linear between these points.

    Attributes
    ----------
    probability
        As the network says it, rising.
    right
        Share of the objects of that probability that were right on the validation images.
    """

    probability: tuple[float, ...]
    right: tuple[float, ...]

    def __call__(self, probability: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Translate probabilities of objects."""
        share: npt.NDArray[np.float32] = np.interp(probability, *self).astype(np.float32)
        return share


NUCLEUS_UM2 = 22.0
"""Median area of nuclei in sections, µm², for models that don't say it."""

_WINDOW = 64
"""Side of what a network is tried on, in pixels, where its stride allows."""

SCRIPT_NOTICE = (
    "its network is TorchScript, a program, and was not run to tell this; to run it takes `trust`"
)

BLOCK = 2**24
"""Bytes of a file that are read at a time."""

REQUIRED = ("target", "mpp", "halo", "stride", "channels", "decode")


@dataclass(frozen=True)
class Bundle:
    """A model and what is known about it, without the weights.

    Attributes
    ----------
    name
        Name of its folder.
    path
        Its folder.
    metadata
        The whole of ``configs/metadata.json``, checked.
    trusted
        Digest of the TorchScript that the user trusts; empty: there is none, or it is not run.
    """

    name: str
    path: Path
    metadata: Mapping[str, Any]
    trusted: str = ""

    @property
    def _own(self) -> Mapping[str, Any]:
        section: Mapping[str, Any] = self.metadata["qpbridge"]
        return section

    @property
    def version(self) -> str:
        """Version of the weights."""
        return str(self.metadata["version"])

    @property
    def target(self) -> str:
        """What it finds: nuclei, glands or vessels."""
        return str(self._own["target"])

    @property
    def decoder(self) -> str:
        """Name of the decoder that its maps are for; the target's own, if it doesn't say."""
        return str(self._own.get("decoder", self.target))

    @property
    def notice(self) -> str:
        """What whoever uses it must know, said once in every run; mostly empty."""
        return str(self._own.get("notice", ""))

    @property
    def image_type(self) -> ImageType:
        """Kind of image that it is made for; H&E, if it doesn't say."""
        return ImageType(self._own.get("image_type", ImageType.BRIGHTFIELD_H_E.value))

    @property
    def classes(self) -> tuple[PathClass, ...]:
        """Classes that it tells apart; none: everything is of the target's own class."""
        return path_classes(self._own)

    @property
    def nominal_mpp(self) -> bool:
        """Whether images without a pixel size are taken to have the model's own."""
        return bool(self._own.get("nominal_mpp", False))

    @property
    def mpp(self) -> float:
        """Pixel size of its input and its maps, in µm."""
        return float(self._own["mpp"])

    @property
    def nucleus_um2(self) -> float:
        """Median area of the nuclei that it finds in pictures of known pixel size, µm²."""
        return float(self._own.get("nucleus_um2", NUCLEUS_UM2))

    @property
    def halo(self) -> int:
        """Pixels around a tile that must be read so that neighbouring tiles agree."""
        return int(self._own["halo"])

    @property
    def stride(self) -> int:
        """Input sizes, and positions of tiles, must be multiples of this many pixels."""
        return int(self._own["stride"])

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the output maps, in order."""
        return tuple(str(channel["name"]) for channel in self._own["channels"])

    @property
    def decode(self) -> Mapping[str, float]:
        """Keyword arguments of the target's decoder, the maps' pixel size among them."""
        return {"mpp": self.mpp, **self._own["decode"]}

    @property
    def calibration(self) -> Calibration | None:
        """How often objects are right that it is so and so sure of, if that was measured.

        Raises
        ------
        ModelError
            If it can't be understood.
        """
        section = self._own.get("calibration")
        if section is None:
            return None
        try:
            known = Calibration(*(tuple(map(float, section[key])) for key in Calibration._fields))
            rising = bool((np.diff(known.probability) > 0).all())
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{self.name}: its calibration can't be read ({error!r}).") from error
        if not known.right or len(known.right) != len(known.probability) or not rising:
            raise ModelError(
                f"{self.name}: a calibration has as many probabilities, rising, as shares."
            )
        return known

    def uncalibrated(self) -> Bundle:
        """Return it without a calibration: `certainty` is what the network says."""
        own = {key: value for key, value in self._own.items() if key != "calibration"}
        return replace(self, metadata={**self.metadata, "qpbridge": own})

    def certainty(self, probability: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return how sure to be of objects of a mean foreground probability."""
        return probability if self.calibration is None else self.calibration(probability)

    @property
    def license(self) -> str:
        """Licence of the weights."""
        return str(self.metadata.get("license", "unknown"))

    @property
    def commercial_use(self) -> bool:
        """Whether the licences of the training data allow commercial use."""
        return bool(self._own.get("commercial_use", False))

    @property
    def scores(self) -> Mapping[str, Any]:
        """Scores by data set, as measured when it was made."""
        section: Mapping[str, Any] = self._own.get("scores", {})
        return section

    @property
    def data(self) -> Mapping[str, Any]:
        """What it was trained and validated on."""
        section: Mapping[str, Any] = self._own.get("data", {})
        return section

    @property
    def training(self) -> Mapping[str, Any]:
        """How it was trained: steps, minutes, hardware, seed."""
        section: Mapping[str, Any] = self._own.get("training", {})
        return section

    @property
    def limits(self) -> str:
        """What it is known to get wrong."""
        return str(self._own.get("limits", ""))

    @property
    def is_foreign(self) -> bool:
        """Whether it comes from elsewhere, and does not say what images it is made for."""
        return "window" in self._own

    @property
    def turns(self) -> int:
        """How many turned views of the image are averaged: 1, 2 or 4."""
        return int(self._own.get("turns", 1))

    @property
    def network_definition(self) -> Mapping[str, Any]:
        """MONAI's definition of the network, from ``configs/inference.json``."""
        definition = read_config(self.path).get("network_def")
        if not isinstance(definition, dict):
            raise ModelError(
                f"{config_path(self.path)}: no network_def in it, and without that (as of "
                "TorchScript) it can be run, but not be trained on."
            )
        return definition

    @property
    def runs(self) -> bool:
        """Whether its network may be run: not TorchScript that was loaded to be described only."""
        return bool(self.trusted) or not _is_script(self.path)

    def network(self, device: str | torch.device = "cpu") -> nn.Module:
        """Load the weights and return the network, ready for inference.

        It takes RGB (N, 3, H, W), uint8 or float in 0..255, H and W multiples of `stride`, and
        returns the final float32 maps (N, len(channels), H, W): probabilities and pixels, not
        logits. Nothing in it depends on statistics of the image.

        Raises
        ------
        ModelError
            If the weights are missing, damaged, or don't fit the definition; or it is TorchScript
            that isn't trusted, or was changed since it was loaded.
        """
        import torch

        from qpbridge.models.adapter import ForeignNetwork
        from qpbridge.models.definition import load_network
        from qpbridge.models.limits import try_network
        from qpbridge.models.network import MapNetwork, fold_batch_norm, half_precision

        script = _read_script(self.path)
        if script is not None and digest_of(script) != self.trusted:
            raise refuse_untrusted(self.path)
        network = load_network(self.path, script)
        if self.is_foreign:
            return ForeignNetwork(network, self._own).eval().to(device)
        if script is None and self.path not in find_bundles():  # those that come along do fit
            side = self.stride * max(1, _WINDOW // self.stride)
            try_network(network, side, len(self.channels), config_path(self.path))
        fold_batch_norm(network)
        half = half_precision(torch.device(device))
        ready: nn.Module = MapNetwork(network, self._own["channels"], half, self.turns)
        ready = ready.eval().to(device)
        return ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def digest(self) -> str:
        """Return a checksum of weights and configuration, in hexadecimal digits.

        It is of the files that the network is made of; whatever else lies beside them is not read.

        Raises
        ------
        ModelError
            If they can't be read.
        """
        digest = hashlib.blake2b(digest_size=16)
        configs = (config_path(self.path), self.path / "configs" / "metadata.json")
        for path in (*configs, *(self.path / "models" / name for name in (*WEIGHTS, SCRIPT.name))):
            try:
                if path.is_file():
                    with path.open("rb") as file:
                        while block := file.read(BLOCK):
                            digest.update(block)
            except OSError as error:
                raise ModelError(f"{path}: can't be read ({error}).") from error
        return digest.hexdigest()

    def state(self) -> dict[str, torch.Tensor]:
        """Read the weights, float32.

        Raises
        ------
        ModelError
            If they are missing or damaged.
        """
        from qpbridge.models.weights import read_state

        return read_state(self.path)[0]


def find_bundles(extra: Path | None = None) -> list[Path]:
    """List the folders of all bundles: the package's own, then those in `extra`.

    In an installed package they are in ``qpbridge/_bundles``, in a checkout in ``models``.
    """
    package = Path(__file__).resolve().parents[1]
    places = [package / "_bundles", package.parent / "models"]
    if extra is not None:
        places.append(extra)
    return [
        folder
        for place in places
        if place.is_dir()
        for folder in sorted(place.iterdir())
        if (folder / "configs" / "metadata.json").is_file()
    ]


def load_bundle(
    name: str | os.PathLike[str],
    *,
    target: str | None = None,
    mpp: float | None = None,
    trust: bool = False,
    run: bool = True,
) -> Bundle:
    """Find a bundle by its name, or by the path of its folder or zip file.

    Parameters
    ----------
    name
        Of one that comes with qpbridge, or a path.
    target, mpp
        What a bundle from elsewhere finds, and at which µm per pixel, if it doesn't say so itself
        (`qpbridge.models.foreign`).
    trust
        Whether its network may be TorchScript, a program of whoever made it. It is noted in the
        user's configuration (`qpbridge.models.trust`), and needn't be said again as long as the
        file stays the same.
    run
        Whether the network is to be run. If not, TorchScript needs no trust, and what the bundle
        doesn't say of it is a guess.

    Raises
    ------
    RequestError
        If an argument makes no sense.
    ModelError
        If there is none of that name, its metadata can't be read, or it can't be used; or its
        network is TorchScript that isn't trusted.

    Examples
    --------
    >>> bundle = qpbridge.load_bundle("nuclei_he")
    >>> bundle.target, bundle.mpp
    ('nuclei', 0.5)
    """
    place = folder = Path(checks.path("name", name))
    if target is not None:
        checks.choice("target", target, DEFAULT_MODELS)
    check_mpp("mpp", mpp)
    checks.flag("trust", trust)
    if folder.is_file():
        folder = unpack_bundle(folder)
    elif not (folder / "configs" / "metadata.json").is_file():
        known = {path.name: path for path in find_bundles()}
        if str(name) not in known:
            raise ModelError(
                f"There is no model {str(name)!r}. Known models: {', '.join(sorted(known))}; "
                "or give the path of a bundle (a folder or zip file with configs/metadata.json)."
            )
        place = folder = known[str(name)]
    source = folder / "configs" / "metadata.json"
    metadata = read_document(source)
    script = _read_script(folder)
    if script is not None and (run or trust):
        if trust:
            trust_script(place, script)
        elif not is_trusted(place, script):
            raise refuse_untrusted(place)
    own = metadata.get("qpbridge", {})
    missing = [key for key in REQUIRED if not isinstance(own, dict) or key not in own]
    if missing and "network_data_format" in metadata:
        from qpbridge.models.foreign import describe  # which runs the network

        usable = script if run or script is None else b""
        own = describe(folder, metadata, target=target, mpp=mpp, script=usable)
        if usable == b"":
            own["notice"] = SCRIPT_NOTICE
        metadata = {"version": "unknown", **metadata, "qpbridge": own}
    elif missing:
        raise ModelError(
            f"{source}: neither made for qpbridge (its section 'qpbridge' lacks "
            f"{', '.join(missing)}) nor does it say what the network expects, as MONAI's bundles "
            "do (network_data_format)."
        )
    check_metadata(metadata, source)
    trusted = digest_of(script) if script is not None and run else ""
    return Bundle(folder.resolve().name, folder, metadata, trusted)


def _is_script(folder: Path) -> bool:
    """Whether the network of a bundle is TorchScript: it has some, and no weights to take instead.

    Many bundles come with both.
    """
    if not (folder / SCRIPT).is_file():
        return False
    config = read_config(folder)
    defined = isinstance(config.get("network_def", config.get("network")), dict)
    return not (defined and any((folder / "models" / name).is_file() for name in WEIGHTS))


def _read_script(folder: Path) -> bytes | None:
    """Read the TorchScript of a bundle, if it has any: once, so that what is checked is run."""
    path = folder / SCRIPT
    try:
        if not _is_script(folder):
            return None
        if path.stat().st_size > machine_memory() // 4:
            raise ModelError(f"{path}: larger than this machine's memory bears.")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: can't be read ({error}).") from error
