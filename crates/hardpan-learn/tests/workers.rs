//! Loaders with workers, and orders beyond shuffling.

use hardpan_engine::Tensor;
use hardpan_learn::data::{Batch, DataError, DataLoader, Dataset, Draw};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Items that are their own numbers plus random noise; some are broken.
#[derive(Default)]
struct Numbers {
    n: usize,
    fails: Option<usize>,
    panics: Option<usize>,
    skips: Vec<usize>,
    loaded: AtomicUsize,
}

impl Dataset<Tensor, Tensor> for Numbers {
    fn len(&self) -> usize {
        self.n
    }
    fn batch(&self, items: &[usize]) -> Result<(Tensor, Tensor), DataError> {
        self.load(items, 0).map(|b| b.map(|b| (b.x, b.y)).unwrap())
    }
    fn load(
        &self,
        items: &[usize],
        epoch: usize,
    ) -> Result<Option<Batch<Tensor, Tensor>>, DataError> {
        self.loaded.fetch_add(1, SeqCst);
        for &i in items {
            assert!(self.panics != Some(i), "item {i} is cursed");
            if self.fails == Some(i) {
                return Err(DataError::Item { index: i, source: "it is broken".into() });
            }
        }
        let kept: Vec<usize> = items.iter().copied().filter(|i| !self.skips.contains(i)).collect();
        if kept.is_empty() {
            return Ok(None);
        }
        let x: Vec<f64> = kept.iter().map(|&i| Draw::new(5, epoch, i).uniform()).collect();
        let y: Vec<i64> = kept.iter().map(|&i| i as i64).collect();
        // Pending work of this thread must be done here: nobody else can.
        let x = Tensor::from_slice(&x, [kept.len()]) * 2.0;
        Ok(Some(Batch { x, y: Tensor::from_slice(&y, [kept.len()]), items: kept.len() }))
    }
}

fn all(loader: &DataLoader<Tensor, Tensor>, epoch: usize) -> Vec<(Vec<f64>, Vec<i64>)> {
    loader.batches(epoch).map(|b| b.unwrap()).map(|(x, y)| (x.to_vec(), y.to_vec())).collect()
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let numbers = || Numbers { n: 103, ..Default::default() };
    let loader =
        |w| DataLoader::new(numbers(), 8).unwrap().shuffle(3).workers(w).map(|x, y| (x + 1.0, y));
    let expected = all(&loader(0), 4);
    assert_eq!(expected.len(), 13);
    for workers in [1, 2, 5, 40] {
        assert_eq!(all(&loader(workers), 4), expected, "{workers} workers");
        let rest: Vec<_> = loader(workers).batches_from(4, 11).map(|b| b.unwrap().1).collect();
        assert_eq!(rest[1].to_vec::<i64>(), expected[12].1);
    }
    assert_ne!(all(&loader(2), 5), expected);
}

#[test]
fn workers_do_not_run_far_ahead() {
    let data = Arc::new(Numbers { n: 1000, ..Default::default() });
    let loader = DataLoader::new(data.clone(), 1).unwrap().workers(2).ahead(3);
    let mut batches = loader.batches(0);
    for taken in 1..=20 {
        batches.next().unwrap().unwrap();
        // The two workers may each hold one that they took when there was room.
        assert!(data.loaded.load(SeqCst) <= taken + 3, "after {taken}");
    }
    drop(batches);
    assert!(data.loaded.load(SeqCst) <= 24);
}

#[test]
fn errors_come_in_their_place_and_end_the_epoch() {
    for workers in [0, 3] {
        let data = Numbers { n: 40, fails: Some(21), ..Default::default() };
        let loader = DataLoader::new(data, 4).unwrap().workers(workers);
        let results: Vec<_> = loader.batches(0).collect();
        assert_eq!(results.len(), 6, "five good batches and the error");
        let message = results[5].as_ref().unwrap_err().to_string();
        assert_eq!(message, "item 21: it is broken");
    }
}

#[test]
fn a_panic_of_a_worker_is_an_error_with_its_words() {
    let data = Numbers { n: 10, panics: Some(5), ..Default::default() };
    let loader = DataLoader::new(data, 2).unwrap().workers(2);
    let last = loader.batches(0).last().unwrap().unwrap_err();
    assert!(matches!(last, DataError::Panicked { batch: 2, .. }), "{last}");
    assert!(last.to_string().contains("item 5 is cursed"), "{last}");
}

#[test]
fn left_out_items_make_batches_smaller_and_empty_ones_vanish() {
    for workers in [0, 2] {
        let data = Numbers { n: 12, skips: vec![1, 4, 5, 6, 7], ..Default::default() };
        let loader = DataLoader::new(data, 4).unwrap().workers(workers);
        let mut batches = loader.batches(0);
        assert_eq!(batches.next_items(), 3);
        assert_eq!(batches.next().unwrap().unwrap().1.to_vec::<i64>(), [0, 2, 3]);
        assert_eq!(batches.next_items(), 4);
        assert_eq!(batches.next().unwrap().unwrap().1.to_vec::<i64>(), [8, 9, 10, 11]);
        assert_eq!(batches.next_items(), 0);
        assert!(batches.next().is_none());
    }
}

#[test]
fn weighted_sorted_and_partial_orders() {
    let numbers = |n| DataLoader::new(Numbers { n, ..Default::default() }, 4).unwrap();
    let weighted = numbers(3).weighted(&[1.0, 0.0, 3.0], 4000, 7).unwrap();
    let order = weighted.order(0);
    let count = |k| order.iter().filter(|&&i| i == k).count();
    assert_eq!((order.len(), weighted.items(), count(1)), (4000, 4000, 0));
    assert!((2850..3150).contains(&count(2)), "{}", count(2));
    assert_ne!(order, weighted.order(1));
    for wrong in [vec![1.0], vec![1.0, -1.0, 0.0], vec![0.0; 3], vec![f64::NAN; 3]] {
        assert!(matches!(numbers(3).weighted(&wrong, 4, 7), Err(DataError::Weights(_))));
    }

    let sizes = vec![3, 9, 1, 9, 5];
    assert_eq!(numbers(5).sorted(sizes).order(0), [1, 3, 4, 0, 2]);

    let sizes: Vec<usize> = (0..1000).map(|i| i * 7919 % 500).collect();
    let sortish = numbers(1000).sortish(sizes.clone(), 1);
    let order = sortish.order(0);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<_>>(), "each once");
    assert_eq!(sizes[order[0]], 499, "the largest first");
    let spread = |o: &[usize]| -> usize {
        o.chunks(4)
            .map(|b| {
                b.iter().map(|&i| sizes[i]).max().unwrap()
                    - b.iter().map(|&i| sizes[i]).min().unwrap()
            })
            .sum()
    };
    assert!(spread(&order) * 10 < spread(&numbers(1000).shuffle(1).order(0)));
    assert_ne!(order, sortish.order(1));

    let partial = numbers(100).shuffle(2).partial(10);
    assert_eq!((partial.items(), partial.len(), partial.order(0).len()), (10, 3, 10));
    assert_ne!(partial.order(0), partial.order(1));
    assert_eq!(partial.order(3), numbers(100).shuffle(2).order(3)[..10]);
}
