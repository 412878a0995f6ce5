"""Read the nuclei of a project into one pandas data frame, and plot their areas per region.

python examples/nuclei_to_data_frame.py project.qpproj areas.png
"""

import sys

import matplotlib.pyplot as plt
import pandas as pd

import qpbridge

AREA = "Area µm^2"


def read_nuclei(path: str) -> pd.DataFrame:
    frames = []
    for entry in qpbridge.open_project(path):
        objects = entry.read().objects.to_pandas()
        names = objects.set_index("Object ID")["Name"]
        nuclei = objects[objects["Classification"] == "Nucleus"]
        frames.append(nuclei.assign(Image=entry.name, Region=nuclei["Parent ID"].map(names)))
    return pd.concat(frames, ignore_index=True)


def plot_areas(nuclei: pd.DataFrame, target: str) -> None:
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for (image, region), group in nuclei.groupby(["Image", "Region"]):
        axes.hist(group[AREA], bins=40, range=(0, 120), histtype="step", label=f"{image}: {region}")
    axes.set(xlabel="Area of the nucleus (µm²)", ylabel="Nuclei")
    axes.legend()
    figure.savefig(target)


def main(path: str, target: str) -> None:
    nuclei = read_nuclei(path)
    print(nuclei.groupby(["Image", "Region"])[AREA].describe().round(1))
    plot_areas(nuclei, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
