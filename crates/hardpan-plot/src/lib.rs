//! Pictures of trainings and models: a scene of lines, bars, images and text, drawn as SVG, as PNG, or in a terminal.
//!
//! It knows nothing of tensors: it takes numbers. No display and no system fonts are needed.
