"""Broken and hostile input for every reader: `python -m tests.fuzz --inputs 10000 --seed 1`.

`damage` breaks files, `kinds` says which there are and who reads them, `pool` reads each one in a process that may die.
"""
