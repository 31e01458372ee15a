"""Distilling a flow to one or two steps: objectives, methods, the loop, and the data that the student learns from."""
