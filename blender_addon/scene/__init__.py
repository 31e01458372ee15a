"""Everything that changes a .blend or draws into its viewports."""
