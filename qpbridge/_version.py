"""The version, in a module that imports nothing: everything may say which qpbridge it is."""

from __future__ import annotations

__version__ = "0.2.0.dev0"
