"""Other libraries: scikit-learn, ONNX, nnU-Net."""
