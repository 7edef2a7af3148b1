"""A flight rehearsed: photographs of a known terrain, with exact truth beside them.

Mission files or a plan come in; rendered photographs with metadata, and the truth, go out.
"""
