//! [`Rows`]: what can be cut into rows and put together again, so that batches may be tensors, pairs, lists of them.

use hardpan_engine::{Element, Tensor, with_device};

/// Something with a first dimension: a tensor, or tensors side by side with equally many rows.
///
/// This is what makes batches typed: a model with two inputs gets `(Tensor, Tensor)`, and a struct of your own works as well
/// once it has these four methods. Counterpart: the collating of a `DataLoader`, which guesses at run time.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::data::Rows;
/// let pair = (Tensor::from_vec(vec![1f32, 2.0, 3.0], [3]), Tensor::zeros([3, 8]));
/// assert_eq!(pair.rows(), 3);
/// let (a, b) = pair.take_rows(&[2, 0]);
/// assert_eq!((a.to_vec::<f32>(), b.shape()), (vec![3.0, 1.0], &[2, 8][..]));
/// assert_eq!(Rows::concat(vec![a.clone(), a]).shape(), [4]);
/// ```
pub trait Rows: Sized + 'static {
    /// Number of rows.
    fn rows(&self) -> usize;

    /// The rows with these numbers, in this order.
    ///
    /// # Panics
    /// If a number is not below [`rows`](Rows::rows).
    #[track_caller]
    fn take_rows(&self, rows: &[usize]) -> Self;

    /// All rows of the first, then all of the next, and so on.
    ///
    /// # Panics
    /// If there are no parts, or their other dimensions differ.
    #[track_caller]
    fn concat(parts: Vec<Self>) -> Self;

    /// Numbers of rows of all tensors inside, for messages.
    fn shapes(&self) -> String;
}

impl Rows for Tensor {
    #[track_caller]
    fn rows(&self) -> usize {
        assert!(
            self.rank() > 0,
            "rows: a tensor of rank 0 has none; unsqueeze(0) makes it one row"
        );
        self.shape()[0]
    }

    #[track_caller]
    fn take_rows(&self, rows: &[usize]) -> Tensor {
        let n = self.rows();
        if let Some(&wrong) = rows.iter().find(|&&i| i >= n) {
            panic!("take_rows: row {wrong} of a tensor of shape {:?}", self.shape());
        }
        let index: Vec<i64> = rows.iter().map(|&i| i as i64).collect();
        let index = with_device(self.device(), || Tensor::from_slice(&index, [index.len()]));
        self.index_select(0, &index)
    }

    #[track_caller]
    fn concat(parts: Vec<Tensor>) -> Tensor {
        assert!(!parts.is_empty(), "concat: no parts");
        Tensor::cat(&parts, 0)
    }

    fn shapes(&self) -> String {
        format!("{:?}", self.shape())
    }
}

impl<T: Rows> Rows for Vec<T> {
    #[track_caller]
    fn rows(&self) -> usize {
        equal(self.iter().map(T::rows), || self.shapes())
    }

    #[track_caller]
    fn take_rows(&self, rows: &[usize]) -> Vec<T> {
        self.iter().map(|t| t.take_rows(rows)).collect()
    }

    #[track_caller]
    fn concat(parts: Vec<Vec<T>>) -> Vec<T> {
        let n = equal(parts.iter().map(Vec::len), || "lists of different lengths".into());
        let mut columns: Vec<Vec<T>> = (0..n).map(|_| Vec::new()).collect();
        for part in parts {
            for (column, t) in columns.iter_mut().zip(part) {
                column.push(t);
            }
        }
        columns.into_iter().map(T::concat).collect()
    }

    fn shapes(&self) -> String {
        let all: Vec<String> = self.iter().map(T::shapes).collect();
        format!("[{}]", all.join(", "))
    }
}

macro_rules! tuples {
    ($(($($t:ident $i:tt),+))*) => {
        $(
            impl<$($t: Rows),+> Rows for ($($t,)+) {
                #[track_caller]
                fn rows(&self) -> usize {
                    equal([$(self.$i.rows()),+].into_iter(), || self.shapes())
                }

                #[track_caller]
                fn take_rows(&self, rows: &[usize]) -> Self {
                    ($(self.$i.take_rows(rows),)+)
                }

                #[track_caller]
                #[allow(non_snake_case)]
                fn concat(parts: Vec<Self>) -> Self {
                    $(let mut $t = Vec::with_capacity(parts.len());)+
                    for part in parts {
                        $($t.push(part.$i);)+
                    }
                    ($($t::concat($t),)+)
                }

                fn shapes(&self) -> String {
                    let all = [$(self.$i.shapes()),+];
                    format!("({})", all.join(", "))
                }
            }
        )*
    };
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
}

/// The one number that all are; 0 of none.
#[track_caller]
fn equal(mut all: impl Iterator<Item = usize>, shapes: impl Fn() -> String) -> usize {
    let Some(first) = all.next() else { return 0 };
    assert!(all.all(|n| n == first), "rows: parts have different numbers of rows: {}", shapes());
    first
}

/// A tensor `[n]` of labels, checked: each must be one of `0..classes`.
///
/// ```
/// use hardpan_learn::data::labels;
/// let y = labels(&[0u8, 2, 1], 3)?;
/// assert_eq!(y.to_vec::<i64>(), [0, 2, 1]);
/// assert!(labels(&[3u8], 3).is_err()); // no class of three
/// # Ok::<(), hardpan_learn::data::DataError>(())
/// ```
///
/// # Errors
/// The first label that is not, with its place.
pub fn labels<T: Element>(labels: &[T], classes: usize) -> Result<Tensor, super::DataError> {
    let labels: Vec<i64> = labels.iter().map(|l| l.to_i64()).collect();
    match labels.iter().position(|&l| l < 0 || l >= classes as i64) {
        Some(index) => Err(super::DataError::Label { index, label: labels[index], classes }),
        None => Ok(Tensor::from_slice(&labels, [labels.len()])),
    }
}
