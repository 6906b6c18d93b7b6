//! Data sets and loaders.

use hardpan_engine::Tensor;
use hardpan_learn::data::{
    DataError, DataLoader, DataLoaders, Dataset, Rows, TensorDataset, labels, language_model,
    permutation,
};

fn numbered(n: usize) -> TensorDataset<Tensor, Tensor> {
    let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let x = Tensor::from_slice(&x, [n, 1]);
    TensorDataset::new(x.clone(), x).unwrap()
}

fn seen(loader: &DataLoader<Tensor, Tensor>, epoch: usize) -> Vec<Vec<f32>> {
    loader.batches(epoch).map(|b| b.unwrap().0.to_vec::<f32>()).collect()
}

#[test]
fn batches_in_order_with_a_small_last_one() {
    let loader = DataLoader::new(numbered(5), 2).unwrap();
    assert_eq!(seen(&loader, 0), [vec![0., 1.], vec![2., 3.], vec![4.]]);
    assert_eq!((loader.len(), loader.items(), loader.batch_size()), (3, 5, 2));
    let loader = loader.drop_last().unwrap();
    assert_eq!(seen(&loader, 0), [[0., 1.], [2., 3.]]);
    assert_eq!(loader.len(), 2);
}

#[test]
fn a_batch_larger_than_the_data_is_all_of_it() {
    let loader = DataLoader::new(numbered(3), 64).unwrap();
    assert_eq!(seen(&loader, 0), [[0., 1., 2.]]);
    let e = loader.drop_last().err().unwrap();
    assert!(matches!(e, DataError::NoBatches { items: 3, batch_size: 64 }), "{e}");
    assert!(e.to_string().contains("use a batch size of at most 3"), "{e}");
}

#[test]
fn the_order_depends_on_seed_and_epoch_alone() {
    let loader = |seed| DataLoader::new(numbered(100), 7).unwrap().shuffle(seed);
    let a = loader(1);
    let (first, second) = (seen(&a, 0), seen(&a, 1));
    assert_ne!(first, second);
    // Asked again, in another order, by another loader, from the middle.
    let b = loader(1);
    assert_eq!(seen(&b, 1), second);
    assert_eq!(seen(&b, 0), first);
    let rest: Vec<_> = b.batches_from(0, 9).map(|b| b.unwrap().0.to_vec::<f32>()).collect();
    assert_eq!(rest, first[9..]);
    assert_ne!(seen(&loader(2), 0), first);
    // Every item once.
    let mut all: Vec<f32> = first.concat();
    all.sort_by(f32::total_cmp);
    assert_eq!(all, (0..100).map(|i| i as f32).collect::<Vec<_>>());
}

#[test]
fn every_order_is_equally_likely() {
    let mut counts = std::collections::HashMap::new();
    for round in 0..6000 {
        *counts.entry(permutation(3, 9, round)).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 6);
    // 1000 each; the standard deviation is 29.
    assert!(counts.values().all(|c| (850..1150).contains(c)), "{counts:?}");
    assert_eq!(permutation(0, 1, 1), [0usize; 0]);
}

#[test]
fn what_is_wrong_with_data_is_said() {
    let empty = TensorDataset::new(Tensor::zeros([0, 3]), Tensor::zeros([0])).unwrap();
    assert!(empty.is_empty());
    let e = DataLoader::new(empty, 4).err().unwrap();
    assert!(e.to_string().contains("the data set is empty"), "{e}");
    let e = TensorDataset::new(Tensor::zeros([4, 3]), Tensor::zeros([5])).err().unwrap();
    assert_eq!(
        e.to_string(),
        "4 inputs but 5 targets (shapes [4, 3] and [5]): each input needs one target"
    );
    let e = labels(&[0u8, 9, 10, 3], 10).err().unwrap();
    assert_eq!(
        e.to_string(),
        "label 10 of item 2 is out of range: there are 10 classes, so labels go from 0 to 9"
    );
    assert!(labels(&[-1i64], 10).is_err());
    let e = TensorDataset::labelled(Tensor::zeros([2, 1]), &[0u8, 2], 2).err().unwrap();
    assert!(e.to_string().contains("label 2 of item 1"), "{e}");
    let e = language_model(&[1, 2, 3], 2, 2).err().unwrap();
    assert!(e.to_string().contains("at least 5 are needed"), "{e}");
}

#[test]
fn rows_of_tuples_and_lists() {
    let t = |v: &[f32]| Tensor::from_slice(v, [v.len()]);
    let pair = (t(&[1., 2., 3.]), vec![t(&[4., 5., 6.]), t(&[7., 8., 9.])]);
    assert_eq!(pair.rows(), 3);
    let taken = pair.take_rows(&[2, 0]);
    assert_eq!(taken.0.to_vec::<f32>(), [3., 1.]);
    assert_eq!(taken.1[1].to_vec::<f32>(), [9., 7.]);
    let both = Rows::concat(vec![taken, pair]);
    assert_eq!(both.1[0].to_vec::<f32>(), [6., 4., 4., 5., 6.]);
}

#[test]
#[should_panic(expected = "row 3 of a tensor of shape [3]")]
fn a_row_that_is_not_there() {
    Tensor::zeros([3]).take_rows(&[3]);
}

#[test]
#[should_panic(expected = "different numbers of rows: ([2], [3])")]
fn parts_must_have_equally_many_rows() {
    (Tensor::zeros([2]), Tensor::zeros([3])).rows();
}

#[test]
fn transforms_apply_to_whole_batches_of_both_parts() {
    let loaders = DataLoaders::from_tensors(numbered(10), numbered(4), 5, 1)
        .unwrap()
        .map(|x, y| ((&x * 2.0, x), y + 1.0));
    let ((double, x), y) = loaders.train.one_batch().unwrap();
    assert_eq!(double.to_vec::<f32>(), (&x * 2.0).to_vec::<f32>());
    assert_eq!(y.to_vec::<f32>(), (&x + 1.0).to_vec::<f32>());
    assert_eq!(loaders.valid.unwrap().one_batch().unwrap().1.shape(), [4, 1]);
}
