"""The map as one folder for any browser: layers in tiles, heights to measure, cameras, 3D model."""
