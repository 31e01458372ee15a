"""Panels, operators, the preferences page and their texts."""
