"""Whether a model fits an image: is it stained so, and are its nuclei of the usual size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import shapely

from qpbridge.engine.segmenting.request import Request
from qpbridge.errors import PixelSizeError, ScaleError
from qpbridge.hierarchy.regions import select_regions
from qpbridge.measurements.color import image_stains
from qpbridge.measurements.staining import PICTURE, SHOWN, estimate_type
from qpbridge.models.bundle import DEFAULT_MODELS, Bundle, load_bundle
from qpbridge.objects import FloatArray, ImageType, Shapes, Stains
from qpbridge.outlines import areas_um2
from qpbridge.prediction.scale import ScaleEstimate, estimate_scale
from qpbridge.prediction.search import SECTIONS
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.project.interface import ImageData
from qpbridge.slides.slide import Slide

COARSEST = 3.0
"""Pixels of an image may be that many times as large as those that a model learned from."""

USUAL = (0.6, 1.8)
"""Median area of nuclei by the usual one, between which nobody asks whether the scale is right."""

SCANNED = (0.15, 0.7)
"""µm per pixel as slides are scanned; beyond, they are asked for in any case: a network that is
shown a picture at four times its size finds "nuclei" of the usual size, at a quarter hardly any."""

FAR_OFF, DOUBTFUL = 2.0, 1.5
"""From which factor on a pixel size is wrong by the size of nuclei, and from which it may be.
Papillary carcinoma of the kidney and lymphocytes come up to 1.9, large tumour cells to 1 / 1.7."""

OTHER_STAIN = 2.6
"""The first of both for an image that is stained with something else than the model was made for:
right Ki67 slides come up to 1.7."""

CURE = "or give `mpp`"
"""What else can be done where it is known what the pixel size may be."""

SOON, LEAST = 300, 20
"""Nuclei after which their size is looked at, while others are still found; and at least."""

Estimating = Callable[[], ScaleEstimate | None]
"""Estimates µm per pixel by the size of nuclei, in seconds."""


@dataclass(frozen=True)
class Staining:
    """What an image is stained with, as far as it is known.

    Parameters
    ----------
    image_type
        UNSET: in doubt.
    source
        How it is known: ``given``, ``project``, ``pixels`` or ``model``; empty: not.
    stains
        Of an image of that type, as QuPath will have them.
    warnings
        What a person should know of it.
    """

    image_type: ImageType
    source: str
    stains: Stains
    warnings: tuple[str, ...] = ()

    @property
    def news(self) -> ImageType | None:
        """The type, where the project does not know it yet."""
        return self.image_type if self.source in ("given", "pixels", "model") else None


def find_staining(
    data: ImageData, slide: Slide, bundle: Bundle, given: ImageType | None
) -> Staining:
    """Find out what an image is stained with, and whether the model is made for that.

    Where neither the user nor the project says it, the pixels do, if they leave no doubt. A model
    of other images than sections (of the retina, say) is taken at its word where they don't.
    """
    kind, source = given or data.image_type, "given" if given else "project"
    warnings = []
    if kind is ImageType.UNSET:
        guess, sure = estimate_type(slide.thumbnail(PICTURE, PICTURE))
        if sure:
            kind, source = guess, "pixels"
        elif bundle.image_type not in SECTIONS:
            kind, source = bundle.image_type, "model"
        else:
            source = ""
            warnings.append(
                "the type of the image is in doubt, and stays not set; stains are measured as in "
                f"{SHOWN[ImageType.BRIGHTFIELD_H_E]}: give `image_type`"
            )
    if source and kind is not bundle.image_type and not bundle.is_foreign:
        warnings.append(
            f"{bundle.name} was made for {SHOWN[bundle.image_type]}, and this image is "
            f"{SHOWN[kind]}: look at what was found before you count on it"
        )
    same = kind is data.image_type
    known = ImageData(data.objects, kind, data.stains if same else None)
    return Staining(kind, source, image_stains(known), tuple(warnings))


def estimating(
    slide: Slide, data: ImageData, network: TargetNetwork, request: Request
) -> Estimating:
    """Make ready to estimate µm per pixel in the regions of an image, by a model for nuclei."""

    def estimate() -> ScaleEstimate | None:
        regions = select_regions(data.objects, request.selection, slide.width, slide.height)
        area = shapely.union_all([region.geometry for region in regions])
        nuclei = network
        if network.bundle.target != "nuclei" or not network.bundle.runs:
            nuclei = TargetNetwork(load_bundle(DEFAULT_MODELS["nuclei"]), request.device)
        return estimate_scale(slide, area, nuclei)

    return estimate


def check_resolution(
    image: str, mpp: tuple[float, float], bundle: Bundle, estimate: Estimating
) -> None:
    """Refuse an image that is much coarser than what a model learned from.

    Raises
    ------
    ScaleError
        If it is.
    """
    size = float(np.sqrt(mpp[0] * mpp[1]))
    if size > COARSEST * bundle.mpp:
        why = f"{bundle.name} works at {bundle.mpp:g} µm/px, and can't see in so coarse an image"
        raise ScaleError(image, size, why, estimate())


def with_estimate(error: PixelSizeError, estimate: Estimating) -> PixelSizeError:
    """Say what an unknown pixel size may be."""
    found = estimate()
    return error if found is None else PixelSizeError(error.image, cure=CURE, estimate=found)


@dataclass
class SizeCheck:
    """Compares the size of the nuclei of an image with the usual one, as they are found.

    Of 155 pictures of known scale (TNBC, CoNSeP, MoNuSeg, NuInsSeg) none is refused, and 5 are
    warned of. Of 104 at twice or half their scale 34 are refused and 23 warned of, of 64 at four
    times or a quarter 46 are refused; most of the others have hardly any nuclei.

    Parameters
    ----------
    image
        Its name.
    mpp
        µm per pixel (x, y), as taken.
    usual
        Median area of nuclei, µm².
    estimate
        Called where their size is unusual: some slides just have large or small ones.
    far_off
        From which factor on a run is stopped.
    done
        Whether nothing more is to be looked at.
    warnings
        What a person should know of it.
    """

    image: str
    mpp: tuple[float, float]
    usual: float
    estimate: Estimating
    far_off: float = FAR_OFF
    done: bool = False
    warnings: tuple[str, ...] = ()
    _sizes: list[FloatArray] = field(default_factory=list)
    _seen: int = 0

    def see(self, nuclei: Shapes) -> None:
        """Take the nuclei of a tile, server pixels; look at them once there are enough.

        Raises
        ------
        ScaleError
            If by their size the pixel size is wrong.
        """
        if not self.done:
            self._sizes.append(areas_um2(nuclei.geometries, self.mpp))
            self._seen += len(nuclei)
            if self._seen >= SOON:
                self.finish()

    @property
    def wants_more(self) -> bool:
        """Whether there were too few nuclei so far to tell anything."""
        return not self.done and self._seen < LEAST

    def finish(self) -> None:
        """Look at the nuclei that there are; see `see`."""
        size = float(np.sqrt(self.mpp[0] * self.mpp[1]))
        unusual = not SCANNED[0] <= size <= SCANNED[1]
        if self.done or (self._seen < LEAST and not unusual):
            return
        self.done = True
        told = f"only {self._seen} nuclei were found"
        if self._seen >= LEAST:
            median = float(np.median(np.concatenate(self._sizes)))
            if USUAL[0] <= median / self.usual <= USUAL[1] and not unusual:
                return
            told = (
                f"its nuclei have {median:.0f} µm² (median), where {self.usual:.0f} µm² are usual"
            )
        found = self.estimate()
        if found is None or not found.sure or found.low <= size <= found.high:
            return
        factor = max(found.mpp / size, size / found.mpp)
        if factor >= self.far_off:
            raise ScaleError(self.image, size, told, found)
        if factor >= DOUBTFUL:
            self.warnings = (f"{told}; by their size a pixel has {found}, not {size:.2g} µm",)


def size_check(
    image: str,
    mpp: tuple[float, float],
    bundle: Bundle,
    staining: Staining,
    request: Request,
    estimate: Estimating,
) -> SizeCheck:
    """Choose how the nuclei of an image are compared with those that a model learned from.

    Of an image whose stain is in doubt it is taken to be the model's. Where the user insists, and
    of other targets, nothing is looked at.
    """
    same = staining.image_type in (bundle.image_type, ImageType.UNSET)
    return SizeCheck(
        image,
        mpp,
        bundle.nucleus_um2,
        estimate,
        FAR_OFF if same else OTHER_STAIN,
        done=request.force or bundle.target != "nuclei",
    )
