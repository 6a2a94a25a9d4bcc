"""Training: pretraining and fine-tuning."""
