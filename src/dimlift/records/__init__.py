"""What a run leaves behind: records, a study's description, weights. Only JSON and safetensors."""
