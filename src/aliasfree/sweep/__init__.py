"""Sweeps: every config on every data set from every seed, and the table, the answers and the page of them."""
