"""Panels, buttons, the preferences page and the texts in them."""
