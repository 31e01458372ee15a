"""A small model trained from scratch, stage by stage."""
