"""Copying all that Reach keeps from one database into another.

`run` is the whole of it; `mark` says in the target that it is not finished; `side` is what both
databases have to do, which `sqlite` and `postgres` do; `rows` is what a row is on its way.
"""
