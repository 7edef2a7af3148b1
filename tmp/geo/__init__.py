"""Where things lie: polygons, coordinate frames, grids and the rasters on them.

Polygons come in as people draw them, in any CRS; local frames, grids and tiled rasters go out to
all other packages, with every coordinate transformation made here.
"""
