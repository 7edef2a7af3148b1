"""Products looked at in Jupyter: arrays, maps, profiles, lengths and areas, the 3D model.

Files of products come in, and the figures of ``quality.json`` that say how well the map knows its
scale; arrays, measurements and widgets leave.  Nothing here writes to a survey but `lab`, which
copies notebooks.  Widgets speak with the page through the kernel alone: they open no port and ask
no host.
"""
