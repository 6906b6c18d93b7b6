//! Learning-rate schedules by the step, with PyTorch's names and curves.
