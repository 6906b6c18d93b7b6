//! Subscripts, gathers and scatters against plain loops, with gradients.
// Ranges mean what they mean in Python here: negative ends count from the back.
#![allow(clippy::reversed_empty_ranges)]

use hardpan_engine::{
    DOTS, Item, NEW, ScatterReduce, Tensor, every, grad_with, manual_seed, with_eager,
};
use proptest::prelude::*;

fn iota(shape: &[usize]) -> Tensor {
    Tensor::iota(shape.iter().product()).reshape(shape)
}

fn ints(list: &[i64]) -> Tensor {
    Tensor::from_slice(list, [list.len()])
}

#[test]
fn basic_subscripts() {
    let x = iota(&[4, 5, 3]);
    assert_eq!(x.i(-1).to_vec::<i64>(), (45..60).collect::<Vec<i64>>());
    assert_eq!(x.i((1, 2, 0)).item::<i64>(), 21);
    assert_eq!(x.i((DOTS, 1)).shape(), &[4, 5]);
    assert_eq!(x.i((NEW, 1..=-1, .., NEW)).shape(), &[1, 3, 5, 1, 3]);
    assert_eq!(x.i((every(.., 2), -2.., ..100)).shape(), &[2, 2, 3]);
    assert_eq!(x.i((every(1..4, 2), 0, 0)).to_vec::<i64>(), vec![15, 45]);
    assert_eq!(x.i(3..1).shape(), &[0, 5, 3]);
    assert_eq!(x.i(()).shape(), &[4, 5, 3]);
}

#[test]
fn index_tensors_go_where_pytorch_puts_them() {
    let x = iota(&[4, 5, 3]);
    let (a, b) = (ints(&[0, 3]), ints(&[2, -1]));
    // Neighbours: in place. Apart: in front. An integer is no index tensor.
    assert_eq!(x.i((.., &a, &b)).shape(), &[4, 2]);
    assert_eq!(x.i((&a, .., &b)).shape(), &[2, 5]);
    assert_eq!(x.i((&a, .., &b)).to_vec::<i64>()[..2], [2, 5]);
    assert_eq!(x.i((0, .., &b)).shape(), &[5, 2]);
    assert_eq!(x.i((Tensor::scalar(0i64), .., &b)).shape(), &[5, 2]);
    assert_eq!(x.i((&a, NEW, &b)).shape(), &[2, 1, 3]);
    assert_eq!(x.i((&a.reshape([2, 1]), &b)).shape(), &[2, 2, 3]);
    assert_eq!(x.i([[1, 2].to_vec()].concat()).shape(), &[2, 5, 3]);
    assert_eq!(x.i((.., [4, 0, 0], 1)).to_vec::<i64>()[..3], [13, 1, 1]);
    assert_eq!(x.i(Tensor::scalar(2i64)).shape(), &[5, 3]);
}

#[test]
fn masks() {
    let x = iota(&[3, 4]);
    let rows = Tensor::from_slice(&[true, false, true], [3]);
    assert_eq!(x.i(&rows).to_vec::<i64>(), vec![0, 1, 2, 3, 8, 9, 10, 11]);
    assert_eq!(x.i((&rows, 1..3)).to_vec::<i64>(), vec![1, 2, 9, 10]);
    assert_eq!(x.i((&rows, [0, -1])).to_vec::<i64>(), vec![0, 11]);
    assert_eq!(x.i(&x.gt(8)).to_vec::<i64>(), vec![9, 10, 11]);
    assert_eq!(x.i(Tensor::scalar(true)).shape(), &[1, 3, 4]);
    assert_eq!(x.i(Tensor::scalar(false)).shape(), &[0, 3, 4]);
    assert_eq!(x.nonzero().shape(), &[11, 2]);
    let found = x.eq(6).nonzero_tuple();
    assert_eq!((found[0].item::<i64>(), found[1].item::<i64>()), (1, 2));
    assert_eq!(x.masked_select(&x.lt(2)).to_vec::<i64>(), vec![0, 1]);
    assert_eq!(x.set_at(&rows, -1).i((.., 0)).to_vec::<i64>(), vec![-1, 4, -1]);
    let filled = x.masked_scatter(&rows.reshape([3, 1]), &(iota(&[8]) + 100));
    assert_eq!(filled.i(2).to_vec::<i64>(), vec![104, 105, 106, 107]);
}

#[test]
fn replacing_adds_or_overwrites() {
    let x = Tensor::zeros([5]);
    let at = ints(&[1, 1, -1]);
    assert_eq!(x.add_at(&at, 1.0).to_vec::<f32>(), vec![0.0, 2.0, 0.0, 0.0, 1.0]);
    let last = Tensor::from_slice(&[7.0f32, 8.0, 9.0], [3]);
    assert_eq!(x.set_at(&at, &last).to_vec::<f32>(), vec![0.0, 8.0, 0.0, 0.0, 9.0]);
    let m = Tensor::zeros([2, 3]).set_at((1, ..), Tensor::ones([1, 3]));
    assert_eq!(m.to_vec::<f32>(), vec![0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    let put = iota(&[2, 3]).put(&ints(&[0, -1, 0]), &ints(&[10, 20, 30]), true);
    assert_eq!(put.to_vec::<i64>(), vec![40, 1, 2, 3, 4, 25]);
}

#[test]
fn folding_scatters() {
    let x = Tensor::from_slice(&[1i64, -4, 3], [3]);
    let (at, v) = (ints(&[0, 1, 1]), ints(&[5, -2, -3]));
    let fold = |how, own| x.scatter_reduce(0, &at, &v, how, own).to_vec::<i64>();
    assert_eq!(fold(ScatterReduce::Sum, true), vec![6, -9, 3]);
    assert_eq!(fold(ScatterReduce::Sum, false), vec![5, -5, 3]);
    assert_eq!(fold(ScatterReduce::Prod, false), vec![5, 6, 3]);
    assert_eq!(fold(ScatterReduce::Amax, true), vec![5, -2, 3]);
    assert_eq!(fold(ScatterReduce::Amin, false), vec![5, -3, 3]);
    // Means of integers are rounded down.
    assert_eq!(fold(ScatterReduce::Mean, true), vec![3, -3, 3]);
    assert_eq!(fold(ScatterReduce::Mean, false), vec![5, -3, 3]);
}

#[test]
fn product_gradients_survive_zeros() {
    let x = Tensor::from_slice(&[0.0f64, 2.0, 3.0], [3]).requires_grad();
    let v = Tensor::from_slice(&[4.0f64, 0.0, 5.0, 0.0], [4]).requires_grad();
    let y = x.scatter_reduce(0, &ints(&[0, 1, 1, 0]), &v, ScatterReduce::Prod, true);
    y.sum(..).backward();
    assert_eq!(x.grad().unwrap().to_vec::<f64>(), vec![0.0, 0.0, 1.0]);
    assert_eq!(v.grad().unwrap().to_vec::<f64>(), vec![0.0, 10.0, 0.0, 0.0]);
}

fn message(f: impl FnOnce()) -> String {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_err();
    payload.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn wrong_indices_are_named() {
    let x = iota(&[4, 5]);
    let m = message(|| drop(x.i(4)));
    assert!(m.contains("index 4 is out of range for dimension 0 of shape [4, 5]"), "{m}");
    let m = message(|| drop(x.index_select(1, &ints(&[0, 5]))));
    assert!(m.contains("index 5 (element 1 of the indices)") && m.contains("size 5"), "{m}");
    // Not known when the node is built: the kernel finds it, even where arithmetic would reach a valid element.
    let late = ints(&[0, 5]) * 1;
    let m = message(|| drop(x.index_select(1, &late).to_vec::<i64>()));
    assert!(m.contains("out of range") && m.contains("indexing.rs"), "{m}");
    let m = message(|| drop(x.gather(1, &late.reshape([1, 2])).to_vec::<i64>()));
    assert!(m.contains("out of range"), "{m}");
    let (a, b) = (ints(&[-1]) * 1, ints(&[-6]) * 1);
    let m = message(|| drop(x.i((&a, &b)).to_vec::<i64>()));
    assert!(m.contains("out of range"), "{m}");
    let m = message(|| drop(x.i((0, 0, 0))));
    assert!(m.contains("3 indices for a tensor of shape [4, 5]"), "{m}");
}

/// One entry for a dimension of size `n`, and how many result dimensions it gives.
fn entry(n: usize) -> impl Strategy<Value = Item> {
    let k = n as isize;
    let bound = prop::option::of(-k - 1..=k + 1);
    prop_oneof![
        (-k..k).prop_map(Item::At),
        (bound.clone(), bound, 1usize..3).prop_map(|(start, stop, step)| Item::Range {
            start,
            stop,
            step
        }),
        prop::collection::vec(-(n as i64)..n as i64, 2).prop_map(Item::List),
        Just(Item::New),
        prop::collection::vec(any::<bool>(), n)
            .prop_map(move |m| Item::Tensor(Tensor::from_slice(&m, [n]))),
    ]
}

fn subscript() -> impl Strategy<Value = Vec<Item>> {
    (entry(3), entry(4), entry(2)).prop_map(|(a, b, c)| {
        // Two masks need equal counts to broadcast; keep the first only.
        let mut masks = 0;
        let whole = || Item::Range { start: None, stop: None, step: 1 };
        [a, b, c]
            .into_iter()
            .flat_map(|i| match i {
                Item::Tensor(_) if masks > 0 => vec![whole()],
                Item::Tensor(t) => {
                    masks += 1;
                    vec![Item::Tensor(t)]
                }
                Item::New => vec![Item::New, whole()],
                other => vec![other],
            })
            .collect()
    })
}

/// Pairs of lists and masks that do not broadcast together are no valid subscripts.
fn fits(items: &[Item]) -> bool {
    let count = |i: &Item| match i {
        Item::List(l) => Some(l.len()),
        Item::Tensor(t) => Some(t.to_vec::<i64>().iter().sum::<i64>() as usize),
        _ => None,
    };
    let counts: Vec<usize> = items.iter().filter_map(count).filter(|c| *c != 1).collect();
    counts.windows(2).all(|w| w[0] == w[1])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Writing to a copy and reading back agree, elements that are not named stay, and gradients are each other's transposes.
    #[test]
    fn reading_and_writing_agree(items in subscript()) {
        prop_assume!(fits(&items));
        let x = iota(&[3, 4, 2]).to_dtype(hardpan_engine::DType::F64).requires_grad();
        let y = x.i(items.clone());
        let named = y.to_vec::<f64>();
        let w = iota(y.shape()).to_dtype(hardpan_engine::DType::F64) + 0.5;
        let set = x.set_at(items.clone(), -1.0).to_vec::<f64>();
        for (i, v) in set.iter().enumerate() {
            prop_assert_eq!(*v == -1.0, named.contains(&(i as f64)));
        }
        let added = x.zeros_like().add_at(items.clone(), &w).to_vec::<f64>();
        for (i, v) in added.iter().enumerate() {
            let want: f64 = named
                .iter()
                .zip(w.to_vec::<f64>())
                .filter(|(n, _)| **n == i as f64)
                .map(|(_, w)| w)
                .sum();
            prop_assert_eq!(*v, want);
        }
        if y.is_requires_grad() {
            let g = grad_with(&[&y], &[&w], &[&x]).remove(0);
            prop_assert_eq!(g.to_vec::<f64>(), added);
        }
        let eager = with_eager(true, || x.i(items.clone()).to_vec::<f64>());
        prop_assert_eq!(eager, named);
    }

    #[test]
    fn gather_and_scatter_against_loops(dim in 0usize..3, seed in 0u64..100) {
        manual_seed(seed);
        let (shape, mut part) = ([3usize, 4, 2], [2usize, 3, 2]);
        part[dim] = 5;
        let x = iota(&shape);
        let index = Tensor::randint(0, shape[dim] as i64, part);
        let at = index.to_vec::<i64>();
        let out = x.gather(dim as isize, &index).to_vec::<i64>();
        let mut sums = vec![0i64; 24];
        for (k, i) in at.iter().enumerate() {
            let mut c = [k / (part[1] * part[2]), k / part[2] % part[1], k % part[2]];
            c[dim] = *i as usize;
            let flat = (c[0] * 4 + c[1]) * 2 + c[2];
            prop_assert_eq!(out[k], flat as i64);
            sums[flat] += k as i64;
        }
        let added = x.zeros_like().scatter_add(dim as isize, &index, iota(&part));
        prop_assert_eq!(added.to_vec::<i64>(), sums);
    }
}
