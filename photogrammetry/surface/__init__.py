"""The height of the ground and of what stands on it, tile by tile, with its doubt.

Oriented photographs and their grey pyramids come in; heights, standard deviations, the sheet on
which the ground goes on, and the point cloud go out.
"""
