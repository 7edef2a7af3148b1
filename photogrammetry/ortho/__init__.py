"""The true orthomosaic, in colours and in calibrated bands.

A surface and oriented photographs come in; tiles of a picture go out, with seams that do not show.
"""
