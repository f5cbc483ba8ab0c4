"""Measuring: metrics, the one-shot protocol, baselines, tables."""
