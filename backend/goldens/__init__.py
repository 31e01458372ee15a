"""The parity check: this project's modules against stored figures of the reference implementations.

A *case* is a folder with a ``config.json``, the input tensors and the output tensors; its *family* says what was run.
``check`` finds and judges cases, ``compare`` defines agreement, ``case`` reads; the other modules run the families.
"""
