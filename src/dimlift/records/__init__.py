"""Files a run or study writes: records, the study description, weights folders. JSON, safetensors and .npz only."""
