"""Stages and their results, whatever runs them: keys, folders, costs.

It knows no Prefect and no Slurm.
"""
