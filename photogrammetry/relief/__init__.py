"""Pictures of relief: slopes, light, what is seen of the sky, and what rises from its surroundings."""
