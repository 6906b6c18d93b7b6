//! Models as ONNX files, for programs that run those.
