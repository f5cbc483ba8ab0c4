"""Tensor work is an order of magnitude slower without this (docs/decisions/0001-allocator.md)."""

from atlassegfm.runtime import prepare_compute

prepare_compute()
