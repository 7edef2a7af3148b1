"""The commands that make maps and keep runs.

Words and options come in; requests go out to `flows.run`.
"""
