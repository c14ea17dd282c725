"""The operating system's interface: what kernels and programs are given to stand on."""
