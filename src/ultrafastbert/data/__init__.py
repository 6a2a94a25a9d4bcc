"""Text to masked batches: documents, tokenizer, packed rows, masks."""
