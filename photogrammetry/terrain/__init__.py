"""The bare ground below what stands on it: which cells of the surface are ground, and the rest."""
