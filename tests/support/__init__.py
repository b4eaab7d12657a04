"""Helpers shared by the tests: real servers, waiting for a condition, stores for the contract suite."""
