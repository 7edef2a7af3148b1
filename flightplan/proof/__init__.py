"""Whether a plan keeps what it promises: footprints, overlaps, resolution, limits.

A plan and its terrain come in; a certificate, place by place, and repairs go out.
"""
