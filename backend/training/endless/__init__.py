"""Training a small model further for a given time, on objects that are drawn meanwhile: what a GPU is for."""
