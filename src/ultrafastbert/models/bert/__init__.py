"""UltraFastBERT: its configuration, its encoder and its heads."""
