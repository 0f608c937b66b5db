"""Leakage controls: what can tell the species of a set apart that is not the model's to learn."""
