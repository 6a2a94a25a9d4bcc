"""Running trained models: sentence embeddings, filling masks, quantizing, other engines."""
