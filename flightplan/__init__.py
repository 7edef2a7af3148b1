"""Before the flight: from a polygon to a mission, and its rehearsal."""
