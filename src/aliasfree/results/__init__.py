"""What was measured, as records, their JSON, and the figures of the paper. Nothing is computed here."""
