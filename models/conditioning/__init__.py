"""What samples are conditioned on: text, classes, given frames, numbers about the clip."""
