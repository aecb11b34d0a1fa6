"""Pages and pictures of what was measured: HTML parts, charts, tables."""
