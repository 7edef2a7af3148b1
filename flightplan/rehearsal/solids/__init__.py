"""Bodies on the rehearsal's ground: houses with eaves, trees, poles, blocks.

Features come in; a table of bodies, where rays meet them, what is seen there, and how far places
are from them go out.
"""
