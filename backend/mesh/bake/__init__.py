"""Colours, normals and ambient occlusion baked into textures."""
