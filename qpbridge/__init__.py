"""qpbridge: nuclei in QuPath projects, segmented inside the regions that a pathologist drew."""

__version__ = "0.1.0"
