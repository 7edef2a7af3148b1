"""The demonstration: a rehearsed survey, its map, and the map's errors against the truth."""
