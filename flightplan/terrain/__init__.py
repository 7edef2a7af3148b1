"""The ground below a flight: elevation models, profiles, and heights to fly at.

A DEM and flight lines come in; heights that keep distance and resolution go out.
"""
