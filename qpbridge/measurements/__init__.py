"""Measurements as functions of arrays, named and defined as QuPath's."""
