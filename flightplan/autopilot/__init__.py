"""Bring a mission to an autopilot over MAVLink, prove that it arrived, and follow the flight."""
