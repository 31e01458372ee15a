"""Cut a mesh into charts, flatten them and pack them into the UV square."""
