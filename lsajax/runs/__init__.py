"""Runs on disk and on the command line; the one part of `lsajax` that touches either.

Nothing here is imported by `import lsajax`. Importing these modules loads neither JAX nor pandas:
what is heavy is imported where it is used.
"""
