"""The certificate of a lifted network: equivalence checks and weight reports."""
