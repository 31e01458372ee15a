"""Procedural objects: drawn, rendered, and kept as training data."""
