"""What Prefect sees of a run: the server that keeps it, its artifacts, events, and dead runs.

Loaded only where Prefect is asked for; `flows.survey_flow` has the flow itself.
"""
