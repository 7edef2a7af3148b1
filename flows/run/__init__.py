"""What a run is made of: its request, plan, book, lock and products.

`flows.pipeline` puts them together.
"""
