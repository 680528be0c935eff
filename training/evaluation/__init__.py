"""Figures: how a predictor is scored, how sure its intervals are, and the tables of both."""
