"""The survey as a textured 3D model.

Heights and the orthomosaic come in, and for what stands steep the photographs; one GLB goes out,
which any viewer of 3D models opens.
"""
