"""A small model trained from nothing, stage by stage."""
