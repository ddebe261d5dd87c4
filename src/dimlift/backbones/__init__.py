"""2D networks by name, and the weights that go into them."""
