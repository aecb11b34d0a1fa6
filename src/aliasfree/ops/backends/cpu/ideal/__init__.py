"""The ideal filter on the CPU, as products with dense matrices."""
