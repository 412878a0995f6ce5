"""Segmenting the regions of a project's images."""
