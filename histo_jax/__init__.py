"""Self-supervised pretraining for digital pathology: from slides to a tested encoder."""

__version__ = "0.1.0"
