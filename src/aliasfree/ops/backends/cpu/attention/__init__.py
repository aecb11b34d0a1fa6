"""Attention of narrow heads on the CPU."""
