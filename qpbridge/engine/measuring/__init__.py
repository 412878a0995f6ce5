"""Measuring again what is in a project: objects, regions, and what gradings start from."""
