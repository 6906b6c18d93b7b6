//! Tables looked up by index.

use crate::init::Init;
use crate::{Forward, Module, Param, hooked};
use hardpan_engine::{Tensor, functional as f};

/// Rows of a table by index: integers `[..]` to `[.., size]`. Key: `weight [count, size]`, standard normal at first as in PyTorch.
/// Counterpart: `torch.nn.Embedding`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Embedding, Forward};
/// let words = Embedding::new(100, 8).padding_idx(0);
/// let y = words.forward(&Tensor::from_slice(&[0i64, 7, 7], [1, 3]));
/// assert_eq!(y.shape(), [1, 3, 8]);
/// assert_eq!(y.select(1, 0).to_vec::<f32>(), [0.0; 8]);
/// ```
#[derive(Module)]
pub struct Embedding {
    /// `[count, size]`
    pub weight: Param,
    #[module(skip)]
    options: f::EmbeddingOptions,
}

impl Embedding {
    /// `count` rows of `size` numbers.
    pub fn new(count: usize, size: usize) -> Embedding {
        let weight = Param::new(Tensor::randn([count, size]));
        Embedding { weight, options: Default::default() }
    }

    /// The row that stands for padding: zeros, and never trained. Negative counts from the end.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    #[track_caller]
    pub fn padding_idx(mut self, row: isize) -> Embedding {
        let count = self.weight.shape()[0];
        let at = if row < 0 { row + count as isize } else { row };
        assert!(
            (0..count as isize).contains(&at),
            "Embedding: padding_idx {row}, but there are {count} rows"
        );
        self.options.padding_idx = Some(at);
        let keep = Tensor::iota(count).ne(at as i64).reshape([count, 1]);
        let w = self.weight.value().detach();
        self.weight.set(&w * keep.to_dtype(w.dtype()));
        self
    }

    /// Scales each gradient by one over how often its row is used in the batch. Default no.
    #[must_use]
    pub fn scale_grad_by_freq(mut self, scale: bool) -> Embedding {
        self.options.scale_grad_by_freq = scale;
        self
    }

    /// Rows of a larger norm than this are looked up as if scaled down to it (the table itself stays).
    #[must_use]
    pub fn max_norm(mut self, norm: f64) -> Embedding {
        self.options.max_norm = Some(norm);
        self
    }

    /// Which norm [`max_norm`](Embedding::max_norm) means. Default 2.
    #[must_use]
    pub fn norm_type(mut self, p: f64) -> Embedding {
        self.options.norm_type = p;
        self
    }

    /// With the table filled this way. fastai fills it by `Init::TruncatedNormal { std: 0.01 }`.
    #[must_use]
    pub fn init(self, init: Init) -> Embedding {
        init.fill(&self.weight);
        match self.options.padding_idx {
            Some(row) => self.padding_idx(row),
            None => self,
        }
    }
}

impl Forward for Embedding {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            f::embedding(x, &self.weight.value(), self.options)
        })
    }
}

/// Sums, means or maxima of rows of a table, bag by bag: indices `[bags, size]` give `[bags, row]`. Key: `weight [count, row]`.
/// Counterpart: `torch.nn.EmbeddingBag`.
///
/// ```
/// use hardpan_engine::{DType, Tensor};
/// use hardpan_nn::{EmbeddingBag, Forward};
/// let bags = EmbeddingBag::new(10, 2);
/// bags.weight.set(Tensor::iota(20).reshape([10, 2]).to_dtype(DType::F32));
/// let y = bags.forward(&Tensor::from_slice(&[0i64, 1, 2, 4], [2, 2]));
/// assert_eq!(y.to_vec::<f32>(), [1.0, 2.0, 6.0, 7.0]);
/// ```
#[derive(Module)]
pub struct EmbeddingBag {
    /// `[count, size]`
    pub weight: Param,
    #[module(skip)]
    mode: f::BagMode,
    #[module(skip)]
    options: f::EmbeddingOptions,
    include_last_offset: bool,
}

impl EmbeddingBag {
    /// `count` rows of `size` numbers; means of bags.
    pub fn new(count: usize, size: usize) -> EmbeddingBag {
        let weight = Param::new(Tensor::randn([count, size]));
        EmbeddingBag {
            weight,
            mode: f::BagMode::Mean,
            options: Default::default(),
            include_last_offset: false,
        }
    }

    /// What is taken of each bag. Default: the mean.
    #[must_use]
    pub fn mode(mut self, mode: f::BagMode) -> EmbeddingBag {
        self.mode = mode;
        self
    }

    /// A row that bags leave out. Negative counts from the end. Default none.
    #[must_use]
    pub fn padding_idx(mut self, row: isize) -> EmbeddingBag {
        self.options.padding_idx = Some(row);
        self
    }

    /// Rows of a larger norm than this are looked up as if scaled down to it. Default none.
    #[must_use]
    pub fn max_norm(mut self, norm: f64) -> EmbeddingBag {
        self.options.max_norm = Some(norm);
        self
    }

    /// Which norm [`max_norm`](EmbeddingBag::max_norm) means. Default 2.
    #[must_use]
    pub fn norm_type(mut self, p: f64) -> EmbeddingBag {
        self.options.norm_type = p;
        self
    }

    /// Scales each gradient by one over how often its row is used in the batch. Default no.
    #[must_use]
    pub fn scale_grad_by_freq(mut self, scale: bool) -> EmbeddingBag {
        self.options.scale_grad_by_freq = scale;
        self
    }

    /// Whether the last offset is the end of the last bag rather than the start of another. Default no.
    #[must_use]
    pub fn include_last_offset(mut self, include: bool) -> EmbeddingBag {
        self.include_last_offset = include;
        self
    }

    /// Bags of different sizes: flat indices `[n]`, and where each bag starts.
    #[track_caller]
    pub fn forward_offsets(&self, x: &Tensor, offsets: &Tensor) -> Tensor {
        self.look_up(x, Some(offsets), None)
    }

    /// With a factor for each index (of the shape of `x`), which needs the sum.
    #[track_caller]
    pub fn forward_weighted(
        &self,
        x: &Tensor,
        offsets: Option<&Tensor>,
        factors: &Tensor,
    ) -> Tensor {
        self.look_up(x, offsets, Some(factors))
    }

    #[track_caller]
    fn look_up(&self, x: &Tensor, offsets: Option<&Tensor>, factors: Option<&Tensor>) -> Tensor {
        let options = f::EmbeddingBagOptions {
            offsets,
            include_last_offset: self.include_last_offset,
            mode: self.mode,
            per_sample_weights: factors,
            padding_idx: self.options.padding_idx,
            max_norm: self.options.max_norm,
            norm_type: Some(self.options.norm_type),
            scale_grad_by_freq: self.options.scale_grad_by_freq,
        };
        f::embedding_bag(x, &self.weight.value(), options)
    }
}

impl Forward for EmbeddingBag {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            self.look_up(x, None, None)
        })
    }
}
