"""What a user opens: the products' table, styles, catalogue, band stacks and zones."""
