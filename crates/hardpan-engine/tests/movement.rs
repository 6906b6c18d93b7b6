//! Views, joins, splits, diagonals and random draws: what the recorded cases do not reach.

use hardpan_engine::{DType, GridIndexing, Tensor, broadcast_shapes, manual_seed};

fn iota(shape: &[usize]) -> Tensor {
    Tensor::iota(shape.iter().product()).reshape(shape)
}

#[test]
fn diagonals_of_views() {
    let x = iota(&[3, 5]);
    assert_eq!(x.t().diagonal(-1, 0, 1).to_vec::<i64>(), vec![1, 7, 13]);
    assert_eq!(x.diagonal(9, 0, 1).shape(), &[0]);
    assert_eq!(x.diagonal(-7, 0, 1).shape(), &[0]);
    let planes = iota(&[2, 3, 2]);
    assert_eq!(planes.diagonal(0, 0, 2).to_vec::<i64>(), vec![0, 7, 2, 9, 4, 11]);
    let back = planes.diagonal_scatter(&planes.diagonal(0, 0, 2).neg(), 0, 0, 2);
    assert_eq!(back.to_vec::<i64>(), vec![0, 1, -2, 3, -4, 5, 6, -7, 8, -9, 10, -11]);
    let d = Tensor::iota(2).diag(-1);
    assert_eq!(d.to_vec::<i64>(), vec![0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(Tensor::iota(2).diag_embed(1, 1, 0).to_vec::<i64>(), d.to_vec::<i64>());
}

#[test]
fn rolls_turns_and_repeats() {
    let x = iota(&[2, 3]);
    assert_eq!(x.roll(1, ..).to_vec::<i64>(), vec![5, 0, 1, 2, 3, 4]);
    assert_eq!(x.roll([1, -1], [0, 1]).to_vec::<i64>(), vec![4, 5, 3, 1, 2, 0]);
    assert_eq!(x.rot90(1, [0, 1]).to_vec::<i64>(), vec![2, 5, 1, 4, 0, 3]);
    assert_eq!(x.rot90(-3, [0, 1]).to_vec::<i64>(), x.rot90(1, [0, 1]).to_vec::<i64>());
    assert_eq!(x.repeat([2, 1, 2]).shape(), &[2, 2, 6]);
    assert_eq!(x.tile([2]).to_vec::<i64>(), vec![0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]);
    let counts = Tensor::from_slice(&[2i64, 0, 1], [3]);
    assert_eq!(x.repeat_interleave_by(&counts, 1).to_vec::<i64>(), vec![0, 0, 2, 3, 3, 5]);
    assert_eq!(x.squeeze(..).shape(), &[2, 3]);
    assert_eq!(iota(&[1, 2, 1]).squeeze([0, 1]).shape(), &[2, 1]);
}

#[test]
fn splits_and_grids() {
    let shapes = |v: Vec<Tensor>| v.iter().map(|t| t.shape()[0]).collect::<Vec<_>>();
    let x = Tensor::iota(7);
    assert_eq!(shapes(x.split(3, 0)), vec![3, 3, 1]);
    assert_eq!(shapes(x.chunk(4, 0)), vec![2, 2, 2, 1]);
    assert_eq!(shapes(x.tensor_split(3, 0)), vec![3, 2, 2]);
    assert_eq!(shapes(x.tensor_split([5, 2, -1], 0)), vec![5, 0, 4, 1]);
    assert_eq!(shapes(x.split_sizes([0, 7], 0)), vec![0, 7]);
    let g = Tensor::meshgrid(&[Tensor::iota(2), Tensor::iota(3)], GridIndexing::Xy);
    assert_eq!(g[0].shape(), &[3, 2]);
    assert_eq!(Tensor::iota(4).combinations(2, false).shape(), &[6, 2]);
    assert_eq!(Tensor::iota(3).combinations(3, true).shape(), &[10, 3]);
    assert_eq!(broadcast_shapes(&[&[2, 1], &[], &[3]]).as_slice(), &[2, 3]);
}

#[test]
#[should_panic(expected = "adds up to 6, but dimension 0 of shape [7] has 7")]
fn sizes_that_do_not_add_up() {
    Tensor::iota(7).split_sizes([2, 4], 0);
}

#[test]
fn draws_repeat_with_the_seed_and_stay_in_range() {
    let draw = || {
        manual_seed(7);
        let a = Tensor::randint(-3, 5, [1000]);
        let p = Tensor::randperm(100);
        let b = Tensor::full([1000], 0.3).bernoulli();
        let w = Tensor::from_slice(&[0.0f32, 1.0, 3.0, 0.0], [4]);
        let m = w.multinomial(1000, true);
        let n = Tensor::normal(2.0, 0.5, [1000]);
        let once = Tensor::ones([2, 6]).multinomial(6, false);
        (a.to_vec::<i64>(), p.to_vec::<i64>(), b.to_vec::<f32>(), m.to_vec::<i64>(), n, once)
    };
    let (a, p, b, m, n, once) = draw();
    assert!(a.iter().all(|x| (-3..5).contains(x)) && (-3..5).all(|x| a.contains(&x)));
    let mut sorted = p.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..100).collect::<Vec<i64>>());
    assert_ne!(p, sorted);
    let ones = b.iter().sum::<f32>();
    assert!((230.0..370.0).contains(&ones), "{ones}");
    assert!(m.iter().all(|i| *i == 1 || *i == 2));
    let twos = m.iter().filter(|i| **i == 2).count();
    assert!((680..820).contains(&twos), "{twos}");
    let mean = n.mean(..).item::<f32>();
    assert!((1.9..2.1).contains(&mean), "{mean}");
    for row in once.to_vec::<i64>().chunks(6) {
        let mut row = row.to_vec();
        row.sort_unstable();
        assert_eq!(row, (0..6).collect::<Vec<i64>>());
    }
    let again = draw();
    assert_eq!((a, p, b, m), (again.0, again.1, again.2, again.3));
    let wide = Tensor::randint(0, i64::MAX, [50]).to_vec::<i64>();
    assert!(wide.iter().all(|x| *x >= 0) && wide.iter().any(|x| *x > i64::from(u32::MAX)));
    let like = Tensor::zeros_dtype([64], DType::BF16).rand_like();
    assert!(like.dtype() == DType::BF16 && like.to_vec::<f32>().iter().all(|x| *x < 1.0));
}

#[test]
#[should_panic(expected = "weights must be finite and not negative, got -1 at 2 of row 0")]
fn negative_weights() {
    Tensor::from_slice(&[1.0f32, 0.5, -1.0], [3]).multinomial(1, true);
}
