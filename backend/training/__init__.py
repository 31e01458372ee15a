"""Training: procedural objects, a small model from nothing, and students distilled from a model."""
