"""The raw surface cleaned and simplified."""
