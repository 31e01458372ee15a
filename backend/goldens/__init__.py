"""The parity check: this project's modules against stored figures of the reference implementations.

A *case* is a folder with a ``config.json`` and the tensors that went in and came out; its *family* says what was run.
``check`` finds and judges cases, ``compare`` says what agreement is, ``case`` reads; the other modules run families.
"""
