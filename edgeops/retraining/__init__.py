"""Retraining: when to ask, what to train on, the training job, and who wins."""
