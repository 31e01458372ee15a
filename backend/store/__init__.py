"""Models and packages on disk: the catalogue, where they come from, downloads that resume and are verified."""
