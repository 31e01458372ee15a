"""Judging models: objects with known truth, features of generated ones, distributions compared, and a table."""
