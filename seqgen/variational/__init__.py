"""Variational inference: bounds of the evidence, estimators of their gradients, and control of the rate."""
