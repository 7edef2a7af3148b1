"""From digital numbers to reflectance: panels, sun sensors and the calibration of a survey.

Photographs of bands with their tags come in; factors that turn pixel values into reflectance go
out, with what they rest on.
"""
