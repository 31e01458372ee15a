"""What the mesh rooms share: compiled loops, small vectors, connectivity, flood fill, projection onto a surface."""
