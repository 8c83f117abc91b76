"""Studies that reproduce the tables and figures: Config -> cells -> rows -> table and figure.

A study is one file: `Config`, `cells`, `table`, `figure`, and a constant `TIME` by which
`python -m experiments` finds it. Such a file imports nothing heavy at its top, so that options are
checked before PyTorch, pandas and Matplotlib are loaded, and before JAX compiles.
"""
