"""What the mesh modules share: compiled loops, small vectors, connectivity, flood fill, projection onto a surface."""
