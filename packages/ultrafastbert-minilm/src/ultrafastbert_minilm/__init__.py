"""The folder `model`: all-MiniLM-L6-v2 with fast feedforward layers, for `ultrafastbert`."""
