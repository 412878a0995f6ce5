"""Model bundles: find, load, describe."""

from qpbridge.models.bundle import Bundle, find_bundles, load_bundle

__all__ = ["Bundle", "find_bundles", "load_bundle"]
