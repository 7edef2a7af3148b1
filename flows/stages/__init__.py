"""The stages of a map, each one subject: what it reads, makes and writes.

A job with its inputs comes in; files in the stage's result folder go out.
"""
