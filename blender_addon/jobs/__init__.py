"""Jobs, their queue and journal, and the client that talks to the backend. No bpy."""
