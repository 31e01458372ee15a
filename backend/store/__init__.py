"""Models and packages on disk: the catalogue, their sources, and downloads that resume and are verified."""
