"""Spectral indices: their table, their formulas, and their values.

Bands of reflectance come in; index values with their masks go out.
"""
