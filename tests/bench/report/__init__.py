"""The report: docs/benchmarks.md with its plots, and docs/scaling.md, made from the JSON files of the benches."""
