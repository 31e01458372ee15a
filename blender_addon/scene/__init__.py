"""Everything that changes a .blend or draws in it."""
