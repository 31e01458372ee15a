"""Espalier's backend: images to textured meshes, in a Python process of its own, without Blender."""
