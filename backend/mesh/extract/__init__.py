"""From decoded features to a raw surface: sealing of leaks, FlexiCubes, and its dense reference."""
