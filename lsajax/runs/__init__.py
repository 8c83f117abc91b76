"""Runs on disk and on the command line; the one part of `lsajax` that touches either.

Nothing here is imported by `import lsajax`. pandas, pyarrow and tyro are imported where they are
used.
"""
