"""The report of a map: verdict, figures, findings and provenance.

A run's results come in; `report.html` and `quality.json` go out.
"""
