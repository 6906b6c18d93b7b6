//! Numbers that weight initialisation asks for: gains and fans.

/// The gain a layer's initialisation should have before the named nonlinearity (`linear`, `conv2d`, `sigmoid`, `tanh`,
/// `relu`, `leaky_relu` with its slope as `param`, `selu`), or `None` for an unknown name. Counterpart:
/// `torch.nn.init.calculate_gain`.
pub fn calculate_gain(nonlinearity: &str, param: Option<f64>) -> Option<f64> {
    Some(match nonlinearity {
        "linear" | "conv1d" | "conv2d" | "conv3d" | "conv_transpose1d" | "conv_transpose2d"
        | "conv_transpose3d" | "sigmoid" => 1.0,
        "tanh" => 5.0 / 3.0,
        "relu" => 2f64.sqrt(),
        "leaky_relu" => (2.0 / (1.0 + param.unwrap_or(0.01).powi(2))).sqrt(),
        "selu" => 0.75,
        _ => return None,
    })
}

/// Inputs and outputs of one unit of a weight `[out, in, k..]`: `(in * k.., out * k..)`. Counterpart:
/// `torch.nn.init._calculate_fan_in_and_fan_out`.
///
/// # Panics
/// When the shape has fewer than two dimensions.
#[track_caller]
pub fn fan_in_and_fan_out(shape: &[usize]) -> (usize, usize) {
    assert!(
        shape.len() >= 2,
        "fan_in_and_fan_out: a weight of shape {shape:?} has fewer than 2 dimensions"
    );
    let field: usize = shape[2..].iter().product();
    (shape[1] * field, shape[0] * field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fans_and_gains() {
        assert_eq!(fan_in_and_fan_out(&[8, 4, 5]), (20, 40));
        assert_eq!(calculate_gain("leaky_relu", Some(0.0)), Some(2f64.sqrt()));
        assert_eq!(calculate_gain("softmax", None), None);
    }
}
