"""The survey as a textured 3D model.

Heights and the orthomosaic come in, and for what stands steep the photographs; out goes one GLB,
which any viewer of 3D models opens, or a tree of them for surveys that are too large for one.
"""
