"""FIR filters on the CPU: filtered activations, up- and downsampling."""
