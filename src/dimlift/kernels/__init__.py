"""Numbers in kernels: profiles, inflation, channel adaptation. Pure functions of tensors."""
