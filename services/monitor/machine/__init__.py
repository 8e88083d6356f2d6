"""The machine that the monitor runs on: cores, pressure, memory and GPUs, as the kernel and the driver tell them."""
