"""Speed and memory of the rules, measured side by side with ByzFL and Flower: ``python -m benchmarks.aggregation``."""
