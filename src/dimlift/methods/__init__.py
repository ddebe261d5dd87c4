"""What trains: one page for each method, each giving `loss(batch)`, `forward`, `parameter_groups`."""
