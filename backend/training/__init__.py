"""Training: procedural objects, a small model from scratch, and students distilled from a model."""
