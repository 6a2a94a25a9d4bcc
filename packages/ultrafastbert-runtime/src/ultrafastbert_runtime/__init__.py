"""Encoders with fast feedforward layers, run by ONNX Runtime without PyTorch."""
