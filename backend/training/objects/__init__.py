"""Procedural objects: drawn, rendered, and stored as training data."""
