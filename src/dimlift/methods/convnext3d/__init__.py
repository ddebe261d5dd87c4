"""3D-ConvNeXt: ConvNeXt with cubic kernels."""
