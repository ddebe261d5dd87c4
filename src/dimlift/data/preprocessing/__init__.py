"""From a file to the network's input: orientation, spacing, intensities."""
