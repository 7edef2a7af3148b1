"""Runs as Prefect sees them: the server, the record of a run on it, its artifacts and events.

The platform runs without Prefect; what is here is loaded only where a server is asked for.
"""
