"""What a photograph's file says of itself: size, time, position, camera and bands.

EXIF, XMP and the makers' own tags come in; the platform's cameras, bands and positions go out, with
a reason for every doubt.
"""
