"""The process that Blender talks to: the request loop, the work of one job, and the model that stays warm."""
