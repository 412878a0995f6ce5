"""QuPath's GeoJSON dialect, of all versions."""

from __future__ import annotations

from qpbridge.project.geojson.write import write_geojson

__all__ = ["write_geojson"]
