"""Flight lines that cover an area: spacing, cells, headings, order and sorties.

A polygon and a camera's footprint come in; ordered lines with their flying time go out.
"""
