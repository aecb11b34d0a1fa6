"""Measurements: from a run, a folder of images or a network to a record of `aliasfree.results`."""
