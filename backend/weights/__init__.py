"""Model folders and weights files to networks."""
