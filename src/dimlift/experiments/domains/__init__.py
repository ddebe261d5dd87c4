"""What a run on volumes and a run on clouds do each in their own way; everything else is the same for both."""
