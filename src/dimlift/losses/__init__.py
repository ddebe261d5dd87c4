"""What is minimised: functions of logits and labels, without any network."""
