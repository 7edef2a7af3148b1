"""The stages of a map, one subject each: what it reads, makes and writes.

A workspace with its inputs comes in; files in the stage's result folder go out.
"""
