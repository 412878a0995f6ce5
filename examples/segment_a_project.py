"""Segment the nuclei of a QuPath project from Python, and say what was found.

python examples/segment_a_project.py project.qpproj [CLASS]
"""

import sys

import qpbridge


def main(path: str, *classes: str) -> None:
    for report in qpbridge.segment(path, within=classes, model="nuclei_he", progress=True):
        print(report)
        for region in report.regions:
            density = region.measurements["Nuclei: Density per mm^2"]
            print(f"  {region.name}: {density:.0f} nuclei per mm²")


if __name__ == "__main__":
    main(*sys.argv[1:])
