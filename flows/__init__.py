"""Order and machines: which stage runs when, where, and what is already done."""
