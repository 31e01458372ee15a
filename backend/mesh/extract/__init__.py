"""Decoded features to a raw surface: leaks sealed, FlexiCubes, and its dense reference."""
