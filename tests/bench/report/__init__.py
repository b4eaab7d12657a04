"""The report: docs/benchmarks.md and its plots, made from the JSON files that the benches write."""
