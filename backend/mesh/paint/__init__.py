"""What the reference images show of an object, painted onto its texture.

``picture`` reads an image, ``camera`` and ``pose`` find where it was taken from, ``light`` takes its light out, and
``texels`` carries its colours into the texture. ``paint`` does all of it for all images.
"""
