"""From the scene's settings and images to jobs."""
