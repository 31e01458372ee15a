"""A flow distilled to one or two steps: objectives, methods, the loop, and the data it learns from."""
