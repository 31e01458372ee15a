"""Whether a surface is sound, and mending one that is not."""
