"""How fast `aliasfree` is, as ratios: `python -m benchmarks --help`; what they mean is in docs/benchmarks.md."""
