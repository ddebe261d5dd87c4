"""Points, cameras and grids: pure functions of tensors, on the processor and on a GPU alike. Lengths in metres."""
