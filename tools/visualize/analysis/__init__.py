"""Figures that are computed from checkpoints: what two streams and several networks have learnt, layer by layer."""
