"""Where each photograph was taken and how it looked: features, matches, block and datum.

Photographs with recorded positions come in; poses, cameras and tie points in one local frame go
out, with the photographs that were left out and why.
"""
