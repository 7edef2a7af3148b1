"""What stands on the ground, in true 3D: walls, eaves, crowns, seen from above and from the sides.

The ground is measured once from above.  Where something stands on it, the same search measures it
again along directions from the sides; the surfaces found are joined to one, and triangulated.
"""
