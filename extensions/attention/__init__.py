"""Attention on the layouts that projections leave."""
