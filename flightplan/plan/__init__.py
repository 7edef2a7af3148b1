"""What is asked of a flight, and the plan that answers it.

A polygon and a request come in; lines over the ground, sorties and their figures go out.
"""
