"""Trains Mamba models on DNA at single-nucleotide resolution and classifies sequences with them."""
