"""Turns the scene's settings and images into jobs."""
