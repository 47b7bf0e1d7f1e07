"""ONNX models: registry, inspection in a throw-away process, sessions."""
