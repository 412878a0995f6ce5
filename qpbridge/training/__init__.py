"""Training: labelled images in, a model bundle out."""
