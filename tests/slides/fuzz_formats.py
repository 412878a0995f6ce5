"""Broken DICOM, NDPI, CZI and OME-Zarr: mutants of bytes, anywhere in the file.

By hand, for longer::

    PYTHONPATH=.:tests python -m slides.fuzz_formats FIRST COUNT
"""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path

from project.processes import Trouble, fuzz_by_hand, run_guarded
from slide_factory import halve, nuclei_at_random, paint
from slides.fuzz_tiff import can_be_used
from slides.vendors import write_ndpi

NUMBERS = (0, 1, 2, 255, 256, 65535, 2**20, 2**31 - 1, 2**31, 2**32 - 1)


def samples(folder: Path) -> dict[str, Path]:
    """Write small images, files or folders, by name; those that can be made here."""
    pixels = paint(300, 220, nuclei_at_random(300, 220, radius=9, spacing=40, seed=1), seed=1)
    made = {"a.ndpi": folder / "a.ndpi", "a.zarr": folder / "a.zarr", "b.zarr": folder / "b.zarr"}
    write_ndpi(made["a.ndpi"], [pixels, halve(pixels)], mpp=0.5, lens=20)
    from slides import test_zarr

    test_zarr.write(made["a.zarr"], pixels)
    test_zarr.write(made["b.zarr"], pixels, "0.4")
    try:
        from slides import test_czi
    except ImportError:
        pass
    else:
        made["a.czi"] = test_czi.write(folder / "a.czi", [(0, 0, pixels)], tile=100)
    shared = Path(__file__).parents[2].parent / "shared" / "data" / "formats"
    return made | {path.name: path for path in shared.glob("boxes_0.dcm")}


def mutant(data: bytes, choose: random.Random) -> bytes:
    """Change some bytes, most often near the beginning or the end, where a file says what it is."""
    out = bytearray(data)
    for _ in range(choose.choice((1, 1, 2, 5, 20))):
        if not out:
            break
        near = min(len(out), choose.choice((300, 3000, 10**9)))
        at = choose.randrange(near)
        at = len(out) - 1 - at if choose.random() < 0.3 else at
        way = choose.randrange(7)
        if way < 2:
            out[at] = choose.choice((0, 1, 0x7F, 0x80, 0xFF, choose.randrange(256)))
        elif way < 4:
            number = struct.pack(choose.choice(("<I", ">I", "<Q")), choose.choice(NUMBERS))
            out[at : at + len(number)] = number
        elif way == 4:
            out[at : at + choose.choice((1, 4, 100))] = b""
        elif way == 5:
            piece = choose.choice((8, 100, 2000))
            other = choose.randrange(len(out))
            out[at : at + piece] = out[other : other + piece]
        elif choose.random() < 0.3:
            del out[at:]
    return bytes(out)


def check(folder: Path, images: Mapping[str, Path], seed: int) -> bool:
    """Use a mutant of an image."""
    choose = random.Random(seed)
    name = choose.choice(sorted(images))
    path = folder / f"image-{name}"
    if images[name].is_dir():
        shutil.copytree(images[name], path)
        files = sorted(p for p in path.rglob("*") if p.is_file())
        described = [p for p in files if "json" in p.name or p.name.startswith(".z")]
        changed = choose.choice(described if choose.random() < 0.7 else files)
    else:
        shutil.copyfile(images[name], path)
        changed = path
    changed.write_bytes(mutant(changed.read_bytes(), choose))
    try:
        return can_be_used(path)
    finally:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def fuzz(folder: Path, first: int, count: int) -> tuple[int, list[Trouble]]:
    """Check `count` mutants; returns how many could be read."""
    sources = folder / "sources"
    sources.mkdir()
    images = samples(sources)
    return run_guarded(lambda seed: check(folder, images, seed), range(first, first + count))


if __name__ == "__main__":
    fuzz_by_hand(fuzz)
