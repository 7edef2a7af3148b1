"""The loops in which the time goes, compiled by Numba; plain arrays in and out.

`projection` holds the formulas that all of them share.
"""
