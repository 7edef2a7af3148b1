"""Cameras and drones, and how they fly: sizes, speeds, time and energy.

Names come in; figures with their sources go out.
"""
