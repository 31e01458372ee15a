"""Finds, installs and starts the backend, and lists its models. No bpy."""
