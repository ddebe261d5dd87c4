"""nnU-Net v2 trained with borrowed features. Only `trainer.py` imports it."""
