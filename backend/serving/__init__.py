"""The process that Blender talks to: the request loop, one job carried out, the model that stays warm."""
