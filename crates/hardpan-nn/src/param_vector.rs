//! All parameters as one vector, and back.

use crate::Param;
use hardpan_engine::Tensor;

/// The values of all parameters in one vector, in order, each flattened. The gradient flows back to them.
/// Counterpart: `torch.nn.utils.parameters_to_vector`.
///
/// ```
/// use hardpan_nn::{Linear, Module, parameters_to_vector, vector_to_parameters};
/// let (a, b) = (Linear::new(3, 2), Linear::new(3, 2));
/// vector_to_parameters(&parameters_to_vector(&a.parameters()), &b.parameters());
/// assert_eq!(a.weight.value().to_vec::<f32>(), b.weight.value().to_vec::<f32>());
/// ```
///
/// # Panics
/// If there are none.
#[track_caller]
pub fn parameters_to_vector(params: &[Param]) -> Tensor {
    assert!(!params.is_empty(), "parameters_to_vector: there are no parameters");
    let parts: Vec<Tensor> = params.iter().map(|p| p.value().reshape([-1])).collect();
    Tensor::cat(&parts, 0)
}

/// Sets all parameters from one vector, in the dtype they have. Counterpart: `torch.nn.utils.vector_to_parameters`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Linear, Module, vector_to_parameters};
/// let layer = Linear::new(2, 1);
/// vector_to_parameters(&Tensor::from_slice(&[1f32, 2.0, 3.0], [3]), &layer.parameters());
/// assert_eq!(layer.forward(&Tensor::ones([1, 2])).item::<f32>(), 6.0);
/// ```
///
/// # Panics
/// If the vector does not have as many elements as the parameters.
#[track_caller]
pub fn vector_to_parameters(vector: &Tensor, params: &[Param]) {
    let total: usize = params.iter().map(Param::numel).sum();
    assert!(
        vector.shape() == [total],
        "vector_to_parameters: a vector of {total} elements was expected, got shape {:?}",
        vector.shape()
    );
    let mut from = 0;
    for p in params {
        let part = vector.detach().narrow(0, from, p.numel());
        p.set(part.reshape(&p.shape()[..]).to_dtype(p.dtype()));
        from += p.numel();
    }
}
