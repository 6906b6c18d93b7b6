//! The same values through other strides: inputs as views of storage that is laid out differently.

use hardpan_engine::{HostArray, Tensor};

/// How an input is laid out.
#[derive(Clone, Copy)]
pub enum View {
    /// Stored with the last two dimensions swapped.
    Transposed,
    /// Every second element of storage twice as long.
    Strided,
    /// Dimensions along which all slices are equal are stretched (stride 0) from one slice.
    Expanded,
}

/// Every variant.
pub const ALL: [View; 3] = [View::Transposed, View::Strided, View::Expanded];

impl View {
    /// For case ids.
    pub fn name(self) -> &'static str {
        match self {
            View::Transposed => "transposed",
            View::Strided => "strided",
            View::Expanded => "expanded",
        }
    }

    /// A tensor with the values of `array`, as this kind of view.
    pub fn of(self, array: &HostArray) -> Tensor {
        let t = Tensor::from_host(array);
        let rank = t.rank();
        match self {
            View::Transposed if rank >= 2 => {
                let stored = t.transpose(-1, -2).contiguous();
                stored.eval();
                stored.transpose(-1, -2)
            }
            View::Strided if rank >= 1 => {
                let junk = t.ones_like();
                let stored = Tensor::stack(&[&t, &junk], -1);
                stored.eval();
                stored.select(-1, 0)
            }
            View::Expanded => {
                let mut out = t.unsqueeze(0);
                for d in 0..rank {
                    if array.shape()[d] > 1 && uniform(array, d) {
                        out = out.narrow(d as isize + 1, 0, 1);
                    }
                }
                let mut shape = vec![3];
                shape.extend_from_slice(array.shape());
                out.expand(&shape).select(0, 1)
            }
            _ => t,
        }
    }
}

/// True when all slices along `dim` are equal.
fn uniform(array: &HostArray, dim: usize) -> bool {
    let shape = array.shape();
    let inner: usize = shape[dim + 1..].iter().product();
    let block = inner * array.dtype().size();
    block > 0
        && array
            .bytes()
            .chunks_exact(block * shape[dim])
            .all(|c| c.chunks_exact(block).all(|row| row == &c[..block]))
}
