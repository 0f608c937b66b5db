"""Reads, checks, encodes, splits and simulates DNA. Imports NumPy and pandas, never torch."""
