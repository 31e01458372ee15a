"""Clean and simplify a raw surface."""
