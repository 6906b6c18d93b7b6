//! The packed product against its definition.
use super::*;
use crate::dev::cpu::isa::{available, with_isa};
use crate::dev::cpu::pool::set_threads;
use proptest::prelude::*;
use std::sync::Mutex;

fn random_bits(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 33
    }
}

/// Small whole numbers: their products and sums are exact, so any order gives equal bits.
fn whole_numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut next = random_bits(seed);
    (0..len).map(|_| (next() % 9) as f32 - 4.0).collect()
}

/// Values with full mantissas, for which the order of additions shows in the bits.
pub(super) fn fractions(len: usize, seed: u64) -> Vec<f32> {
    let mut next = random_bits(seed);
    (0..len).map(|_| next() as f32 / (1u64 << 30) as f32 - 1.0).collect()
}

/// The definition, summed in f64.
pub(super) fn product<A: Element, B: Element>(
    shape: GemmShape,
    a: &Operand<'_, A>,
    b: &Operand<'_, B>,
) -> Vec<f64> {
    let mut c = Vec::new();
    for i in 0..shape.batch {
        let (a_start, b_start) = (a.base + a.batch.offset(i), b.base + b.batch.offset(i));
        for row in 0..shape.m {
            for col in 0..shape.n {
                let term = |k: usize| {
                    let a = a.data[a_start + row * a.row_stride + k * a.col_stride].to_f32();
                    let b = b.data[b_start + k * b.row_stride + col * b.col_stride].to_f32();
                    f64::from(a) * f64::from(b)
                };
                c.push((0..shape.k).map(term).sum());
            }
        }
    }
    c
}

fn run<A: Element, B: Element>(shape: GemmShape, a: Operand<'_, A>, b: Operand<'_, B>) -> Vec<f32> {
    // NaN shows any element that is not overwritten.
    let mut c = vec![f32::NAN; shape.batch * shape.m * shape.n];
    gemm(shape, a, b, SharedMut::new(&mut c), false, None);
    c
}

/// How an operand lies in memory.
#[derive(Clone, Copy, Debug)]
enum Layout {
    RowMajor,
    Transposed,
    /// Rows and columns spread out.
    Spread,
    /// One row for all rows.
    OneRow,
    /// One column for all columns.
    OneColumn,
}

fn layouts() -> impl Strategy<Value = Layout> {
    prop_oneof![
        3 => Just(Layout::RowMajor),
        3 => Just(Layout::Transposed),
        1 => Just(Layout::Spread),
        1 => Just(Layout::OneRow),
        1 => Just(Layout::OneColumn),
    ]
}

/// Strides, and the elements between matrices of a batch.
fn strides(layout: Layout, rows: usize, cols: usize) -> (usize, usize, usize) {
    match layout {
        Layout::RowMajor => (cols, 1, rows * cols),
        Layout::Transposed => (1, rows, rows * cols),
        Layout::Spread => (2 * cols + 1, 2, rows * (2 * cols + 1)),
        Layout::OneRow => (0, 1, cols),
        Layout::OneColumn => (1, 0, rows),
    }
}

fn operand<'a, T>(
    data: &'a [T],
    layout: Layout,
    rows: usize,
    cols: usize,
    broadcast_batch: bool,
) -> Operand<'a, T> {
    let (row_stride, col_stride, batch) = strides(layout, rows, cols);
    let batch = Batch::Stride(if broadcast_batch { 0 } else { batch });
    Operand { data, base: 3, batch, row_stride, col_stride }
}

fn len(layout: Layout, batch: usize, rows: usize, cols: usize) -> usize {
    3 + batch * strides(layout, rows, cols).2
}

/// Sizes around the edges of tiles, and some past the edges of blocks.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0usize..40, 3 => 40usize..140, 1 => 380usize..800]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn equals_the_definition_for_any_layout_on_every_isa(
        batch in 1usize..4, m in sizes(), n in sizes(), k in sizes(),
        la in layouts(), lb in layouts(), broadcast in any::<bool>(), threads in 1usize..4,
    ) {
        prop_assume!(batch * m * n * k < 4_000_000);
        let shape = GemmShape { batch, m, n, k };
        let a = whole_numbers(len(la, batch, m, k), 1);
        let b = whole_numbers(len(lb, batch, k, n), 2);
        let a = operand(&a, la, m, k, false);
        let b = operand(&b, lb, k, n, broadcast);
        let expected: Vec<f32> = product(shape, &a, &b).iter().map(|v| *v as f32).collect();
        set_threads(threads);
        for isa in available() {
            let actual = with_isa(isa, || run(shape, a, b));
            prop_assert!(actual == expected, "{shape:?} {la:?} {lb:?} {isa}");
        }
    }

    #[test]
    fn bits_do_not_depend_on_threads(
        batch in 1usize..3, m in 1usize..200, n in 1usize..200, k in 1usize..900,
        la in layouts(), lb in layouts(),
    ) {
        let shape = GemmShape { batch, m, n, k };
        let a = fractions(len(la, batch, m, k), 1);
        let b = fractions(len(lb, batch, k, n), 2);
        let a = operand(&a, la, m, k, false);
        let b = operand(&b, lb, k, n, false);
        for isa in available() {
            with_isa(isa, || {
                set_threads(1);
                let expected = run(shape, a, b);
                for threads in [2, 3] {
                    set_threads(threads);
                    let actual = run(shape, a, b);
                    let same = actual.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                    prop_assert!(same, "{shape:?} {la:?} {lb:?} {isa} {threads} threads");
                }
                Ok(())
            })?;
        }
    }

    #[test]
    fn the_hook_sees_every_element_once_and_final(
        batch in 1usize..3, m in 0usize..150, n in 0usize..150, k in 0usize..500,
        threads in 1usize..4,
    ) {
        let shape = GemmShape { batch, m, n, k };
        let (a, b) = (whole_numbers(batch * m * k, 3), whole_numbers(batch * k * n, 4));
        let (a, b) = (Operand::row_major(&a, m, k), Operand::row_major(&b, k, n));
        let mut c = vec![f32::NAN; batch * m * n];
        let shared = SharedMut::new(&mut c);
        // SAFETY: the hook touches only the tile it is handed.
        let view = unsafe { shared.share() };
        set_threads(threads);
        // Doubling shows both a value that comes later and a tile that comes twice.
        gemm(shape, a, b, shared, false, Some(&|tile: Tile| {
            for row in tile.row0..tile.row0 + tile.rows {
                let start = (tile.batch * m + row) * n + tile.col0;
                // SAFETY: inside the tile.
                for value in unsafe { view.slice(start, tile.cols) } {
                    *value *= 2.0;
                }
            }
        }));
        let expected: Vec<f32> = product(shape, &a, &b).iter().map(|v| 2.0 * *v as f32).collect();
        prop_assert_eq!(c, expected);
    }

    #[test]
    fn f64_and_wrapping_integers_equal_the_definition(
        batch in 1usize..3, m in 0usize..40, n in 0usize..300, k in 0usize..150,
        la in layouts(), lb in layouts(), threads in 1usize..4,
    ) {
        let shape = GemmShape { batch, m, n, k };
        set_threads(threads);
        let mut next = random_bits(9);
        let a: Vec<i32> = (0..len(la, batch, m, k)).map(|_| next() as i32).collect();
        let b: Vec<i32> = (0..len(lb, batch, k, n)).map(|_| next() as i32).collect();
        let (ao, bo) = (operand(&a, la, m, k, false), operand(&b, lb, k, n, false));
        let mut expected = Vec::new();
        for i in 0..batch {
            for row in 0..m {
                for col in 0..n {
                    let mut sum = 0i32;
                    for k in 0..k {
                        let at = 3 + ao.batch.offset(i) + row * ao.row_stride + k * ao.col_stride;
                        let bt = 3 + bo.batch.offset(i) + k * bo.row_stride + col * bo.col_stride;
                        sum = sum.wrapping_add(a[at].wrapping_mul(b[bt]));
                    }
                    expected.push(sum);
                }
            }
        }
        for isa in available() {
            let mut c = vec![77i32; batch * m * n];
            with_isa(isa, || gemm_generic(shape, ao, bo, SharedMut::new(&mut c), false));
            prop_assert!(c == expected, "{shape:?} {isa}");
        }
        let a: Vec<f64> = whole_numbers(len(la, batch, m, k), 1).into_iter().map(f64::from).collect();
        let b: Vec<f64> = whole_numbers(len(lb, batch, k, n), 2).into_iter().map(f64::from).collect();
        let mut c = vec![1.0f64; batch * m * n];
        let (ao, bo) = (operand(&a, la, m, k, false), operand(&b, lb, k, n, false));
        gemm_generic(shape, ao, bo, SharedMut::new(&mut c), true);
        let (a32, b32) = (whole_numbers(a.len(), 1), whole_numbers(b.len(), 2));
        let expected: Vec<f64> = product(
            shape, &operand(&a32, la, m, k, false), &operand(&b32, lb, k, n, false),
        ).iter().map(|v| v + 1.0).collect();
        prop_assert_eq!(c, expected);
    }
}

#[test]
fn fractions_are_close_to_the_f64_product() {
    let shape = GemmShape { batch: 1, m: 65, n: 70, k: 1000 };
    let (a, b) = (fractions(65 * 1000, 5), fractions(1000 * 70, 6));
    let (a, b) = (Operand::row_major(&a, 65, 1000), Operand::row_major(&b, 1000, 70));
    let expected = product(shape, &a, &b);
    for isa in available() {
        let actual = with_isa(isa, || run(shape, a, b));
        for (actual, expected) in actual.iter().zip(&expected) {
            assert!((f64::from(*actual) - expected).abs() < 2e-4, "{isa}: {actual} {expected}");
        }
    }
}

#[test]
fn accumulate_adds_and_no_depth_gives_zeros() {
    for isa in available() {
        with_isa(isa, || {
            for k in [0, 1, 40, 800] {
                let shape = GemmShape { batch: 2, m: 17, n: 35, k };
                let (a, b) = (whole_numbers(2 * 17 * k, 1), whole_numbers(2 * k * 35, 2));
                let (a, b) = (Operand::row_major(&a, 17, k), Operand::row_major(&b, k, 35));
                let expected: Vec<f32> = product(shape, &a, &b).iter().map(|v| *v as f32).collect();
                let mut c = run(shape, a, b);
                assert_eq!(c, expected);
                gemm(shape, a, b, SharedMut::new(&mut c), true, None);
                assert_eq!(c, expected.iter().map(|v| 2.0 * v).collect::<Vec<_>>());
            }
        });
    }
}

#[test]
fn batch_tables_place_matrices_anywhere() {
    let a = whole_numbers(1000, 7);
    let b = whole_numbers(1000, 8);
    let shape = GemmShape { batch: 3, m: 5, n: 6, k: 7 };
    let a = Operand { batch: Batch::Offsets(&[100, 0, 100]), ..Operand::row_major(&a, 5, 7) };
    let b = Operand { batch: Batch::Offsets(&[9, 500, 0]), ..Operand::row_major(&b, 7, 6) };
    let expected: Vec<f32> = product(shape, &a, &b).iter().map(|v| *v as f32).collect();
    assert_eq!(run(shape, a, b), expected);
}

#[test]
fn half_operands_are_summed_in_f32() {
    let (m, n, k) = (33, 47, 120);
    let shape = GemmShape { batch: 1, m, n, k };
    let (a, b) = (fractions(m * k, 1), fractions(k * n, 2));
    let a16: Vec<half::f16> = a.iter().map(|v| half::f16::from_f32(*v)).collect();
    let b16: Vec<half::bf16> = b.iter().map(|v| half::bf16::from_f32(*v)).collect();
    let (a32, b32): (Vec<f32>, Vec<f32>) =
        (a16.iter().map(|v| v.to_f32()).collect(), b16.iter().map(|v| v.to_f32()).collect());
    for transposed in [false, true] {
        let rows = |r, c| if transposed { (c, r) } else { (r, c) };
        fn turn<T>(o: Operand<'_, T>, transposed: bool) -> Operand<'_, T> {
            if transposed { o.transposed() } else { o }
        }
        let ((am, ak), (bk, bn)) = (rows(m, k), rows(k, n));
        for isa in available() {
            with_isa(isa, || {
                let expected = run(
                    shape,
                    turn(Operand::row_major(&a32, am, ak), transposed),
                    turn(Operand::row_major(&b32, bk, bn), transposed),
                );
                let actual = run(
                    shape,
                    turn(Operand::row_major(&a16, am, ak), transposed),
                    turn(Operand::row_major(&b16, bk, bn), transposed),
                );
                assert_eq!(actual, expected, "{isa}");
            });
        }
    }
}

#[test]
fn every_f16_converts_as_the_half_crate_converts_it() {
    for bits in 0..=u16::MAX {
        let value = half::f16::from_bits(bits);
        let (own, theirs) = (Element::to_f32(value), value.to_f32());
        assert!(own == theirs || own.is_nan() && theirs.is_nan(), "{bits:04x}");
        let value = half::bf16::from_bits(bits);
        let (own, theirs) = (Element::to_f32(value), value.to_f32());
        assert!(own == theirs || own.is_nan() && theirs.is_nan(), "{bits:04x}");
    }
}

#[test]
fn short_operands_are_refused_with_their_sizes() {
    let caught = std::panic::catch_unwind(|| {
        let a = [0.0f32; 5];
        let shape = GemmShape { batch: 1, m: 2, n: 2, k: 3 };
        let b = [0.0f32; 6];
        run(shape, Operand::row_major(&a, 2, 3), Operand::row_major(&b, 3, 2));
    });
    let text = *caught.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("[2, 3]") && text.contains("5 elements"), "{text}");
}

#[test]
fn tiles_are_whole_rows_when_rows_are_moderate() {
    let tiles = Mutex::new(Vec::new());
    let shape = GemmShape { batch: 1, m: 64, n: 50, k: 784 };
    let (a, b) = (vec![0.0f32; 64 * 784], vec![0.0f32; 784 * 50]);
    let mut c = vec![0.0; 64 * 50];
    set_threads(1);
    let (a, b) = (Operand::row_major(&a, 64, 784), Operand::row_major(&b, 784, 50));
    gemm(shape, a, b, SharedMut::new(&mut c), false, Some(&|t| tiles.lock().unwrap().push(t)));
    assert!(tiles.lock().unwrap().iter().all(|tile| tile.cols == 50));
}
