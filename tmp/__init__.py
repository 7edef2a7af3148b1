"""Core of the Terrestrial Mapping Platform: the types that cross package borders."""
