"""Programs as ONNX graphs of standard integer operators: built, checked, run by onnxruntime, written to files."""
