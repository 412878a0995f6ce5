"""Tiles: where they lie, through the network, and what is found in them joined again."""
