"""What the number of stored responses does to costs: see ``python -m benchmarks.growth -h``."""
