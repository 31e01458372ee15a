"""From model folders and weights files to networks."""
