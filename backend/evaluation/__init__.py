"""Models judged: objects whose truth is known, what is kept of generated ones, distributions compared, a table."""
