"""Pictures of relief: slopes, light, what is seen of the sky, what rises from about it."""
