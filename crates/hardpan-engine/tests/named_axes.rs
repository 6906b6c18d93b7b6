//! `einsum`, `tensordot` and the einops functions against plain loops, and their messages.

use hardpan_engine::{DType, Fold, Tensor, grad_with, manual_seed};
use proptest::prelude::*;

fn numbers(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    ((Tensor::iota(n) * 7).fmod(11) - 5).reshape(shape).to_dtype(DType::F64)
}

/// The sum over all values of all labels, one product at a time.
fn slow(terms: &[&str], out: &str, operands: &[&Tensor], size: impl Fn(char) -> usize) -> Vec<f64> {
    let mut labels: Vec<char> = terms.iter().flat_map(|t| t.chars()).collect();
    labels.sort_unstable();
    labels.dedup();
    let data: Vec<Vec<f64>> = operands.iter().map(|t| t.to_vec::<f64>()).collect();
    let mut result = vec![0.0; out.chars().map(&size).product()];
    let total: usize = labels.iter().map(|l| size(*l)).product();
    for mut k in 0..total {
        let mut value = std::collections::HashMap::new();
        for l in &labels {
            value.insert(*l, k % size(*l));
            k /= size(*l);
        }
        let flat = |t: &str| t.chars().fold(0, |f, l| f * size(l) + value[&l]);
        let product: f64 = terms.iter().zip(&data).map(|(t, d)| d[flat(t)]).product();
        result[flat(out)] += product;
    }
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn einsum_against_loops(
        a in "[a-e]{0,4}", b in "[a-e]{0,3}", c in "[a-e]{1,3}", pick in any::<u32>(), three in any::<bool>(),
    ) {
        let size = |l: char| 1 + (l as usize - 'a' as usize) % 4;
        let terms: Vec<&str> = if three { vec![&a, &b, &c] } else { vec![&a, &c] };
        let mut labels: Vec<char> = terms.iter().flat_map(|t| t.chars()).collect();
        labels.sort_unstable_by_key(|l| (*l as u32).wrapping_mul(2654435761) ^ pick);
        labels.dedup();
        let mut out = String::new();
        for l in labels {
            if pick >> (l as u32 - 'a' as u32) & 1 == 1 && !out.contains(l) {
                out.push(l);
            }
        }
        let tensors: Vec<Tensor> = terms
            .iter()
            .map(|t| numbers(&t.chars().map(size).collect::<Vec<_>>()).requires_grad())
            .collect();
        let refs: Vec<&Tensor> = tensors.iter().collect();
        let equation = format!("{}->{out}", terms.join(","));
        let y = Tensor::einsum(&equation, &refs);
        prop_assert_eq!(y.shape(), &out.chars().map(size).collect::<Vec<_>>()[..]);
        prop_assert_eq!(y.to_vec::<f64>(), slow(&terms, &out, &refs, size), "{}", equation);
        // The gradient of the first operand is again an einsum when no label is repeated in it.
        let first: Vec<char> = terms[0].chars().collect();
        let distinct = (1..first.len()).all(|i| !first[..i].contains(&first[i]));
        let covered = first.iter().all(|l| out.contains(*l) || terms[1..].iter().any(|t| t.contains(*l)));
        if distinct && covered {
            let w = numbers(y.shape());
            let g = grad_with(&[&y], &[&w], &[&tensors[0]]).remove(0);
            let mut others = vec![out.as_str()];
            others.extend(&terms[1..]);
            let mut operands = vec![&w];
            operands.extend(&refs[1..]);
            prop_assert_eq!(g.to_vec::<f64>(), slow(&others, terms[0], &operands, size), "{}", equation);
        }
    }
}

#[test]
fn einsum_notation() {
    let x = numbers(&[2, 3, 4]);
    let y = numbers(&[2, 4, 5]);
    let m = x.matmul(&y);
    for equation in ["bij,bjk->bik", " ...ij , ...jk -> ...ik", "...ij,...jk"] {
        assert_eq!(Tensor::einsum(equation, &[&x, &y]).to_vec::<f64>(), m.to_vec::<f64>());
    }
    // Sizes of 1 stretch, also under the ellipsis.
    let one = numbers(&[1, 4, 5]);
    assert_eq!(Tensor::einsum("...ij,...jk->...ik", &[&x, &one]).shape(), &[2, 3, 5]);
    assert_eq!(Tensor::einsum("ba", &[&numbers(&[2, 3])]).shape(), &[3, 2]);
    assert_eq!(Tensor::einsum("i...->", &[&x]).shape(), &[] as &[usize]);
    let half = Tensor::ones([2, 3]).to_dtype(DType::F16);
    assert_eq!(Tensor::einsum("ij,ij->i", &[&half, &half]).dtype(), DType::F16);
    let empty = Tensor::einsum("ij,jk->ik", &[&Tensor::zeros([2, 0]), &Tensor::zeros([0, 3])]);
    assert_eq!(empty.to_vec::<f32>(), vec![0.0; 6]);
    let d = numbers(&[3, 4, 5]).tensordot(&numbers(&[5, 3, 2]), ([0, 2], [1, 0]));
    let e = Tensor::einsum("abc,cad->bd", &[&numbers(&[3, 4, 5]), &numbers(&[5, 3, 2])]);
    assert_eq!(d.to_vec::<f64>(), e.to_vec::<f64>());
}

fn message(f: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let payload = std::panic::catch_unwind(f).unwrap_err();
    payload.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn einsum_says_what_is_wrong() {
    let why = |equation: &'static str, shapes: &'static [&'static [usize]]| {
        message(move || {
            let t: Vec<Tensor> = shapes.iter().map(|s| Tensor::zeros(*s)).collect();
            drop(Tensor::einsum(equation, &t));
        })
    };
    let m = why("ij,jk->ik", &[&[2, 3], &[4, 5]]);
    assert!(
        m.contains("label 'j' has size 3 in operand 0 (shape [2, 3]) but 4 in operand 1"),
        "{m}"
    );
    let m = why("ij->ik", &[&[2, 3]]);
    assert!(m.contains("label 'k' of the result is in no operand"), "{m}");
    let m = why("ijk->i", &[&[2, 3]]);
    assert!(m.contains("shape [2, 3] (2 dimensions), but \"ijk\" names 3"), "{m}");
    assert!(why("ij,jk", &[&[2, 3]]).contains("names 2 operands, but 1 are given"));
    assert!(why("i1->i", &[&[2, 3]]).contains("'1' is not a label"));
}

#[test]
fn einops_patterns() {
    let x = Tensor::iota(24).reshape([2, 3, 4]);
    let v = |t: Tensor| t.to_vec::<i64>();
    assert_eq!(v(x.rearrange("a b c -> c b a", &[])), v(x.reverse_dims()));
    assert_eq!(x.rearrange("a b c -> (a b) c", &[]).shape(), &[6, 4]);
    assert_eq!(x.rearrange("a b (c d) -> a (d b) 1 c", &[("d", 2)]).shape(), &[2, 6, 1, 2]);
    assert_eq!(x.rearrange("... c -> c ...", &[]).shape(), &[4, 2, 3]);
    assert_eq!(x.rearrange("a ... -> a (...)", &[]).shape(), &[2, 12]);
    assert_eq!(Tensor::iota(3).rearrange("a -> a 1", &[]).shape(), &[3, 1]);
    assert_eq!(Tensor::scalar(1i64).rearrange("-> 1 1", &[]).shape(), &[1, 1]);
    assert_eq!(v(x.reduce("a b c -> b", Fold::Sum, &[])), v(x.sum([0, 2])));
    assert_eq!(v(x.reduce("a b (c 2) -> a b c", Fold::Max, &[]))[..2], [1, 3]);
    assert_eq!(x.reduce("... c -> ...", Fold::Mean, &[]).dtype(), DType::F32);
    assert_eq!(x.reduce("a b c -> 1 b 1", Fold::Min, &[]).shape(), &[1, 3, 1]);
    assert_eq!(v(x.reduce("... ->", Fold::Sum, &[])), vec![276]);
    let pair = Tensor::iota(2);
    assert_eq!(v(pair.repeat_axes("a -> (a n)", &[("n", 3)])), vec![0, 0, 0, 1, 1, 1]);
    assert_eq!(v(pair.repeat_axes("a -> (n a)", &[("n", 3)])), vec![0, 1, 0, 1, 0, 1]);
    assert_eq!(pair.repeat_axes("a -> 5 a 1", &[]).shape(), &[5, 2, 1]);
}

#[test]
fn einops_says_what_is_wrong() {
    let why = |pattern: &'static str, lengths: &'static [(&'static str, usize)]| {
        message(move || drop(Tensor::zeros([2, 12]).rearrange(pattern, lengths)))
    };
    let start = "rearrange \"a b c -> a\" on shape [2, 12]: ";
    let m = why("a b c -> a", &[]);
    assert_eq!(m, format!("{start}the left side \"a b c\" has 3 dimensions, the tensor has 2"));
    let m = why("a (b c) -> a b c", &[]);
    assert!(
        m.contains(
            "dimension 1 of size 12 cannot be split into (b c) when 'b' and 'c' are unknown"
        ),
        "{m}"
    );
    let m = why("a (b c) -> a b c", &[("b", 5)]);
    assert!(
        m.contains("dimension 1 has size 12, which does not divide by 5 to give 'c' of (b c)"),
        "{m}"
    );
    let m = why("a (b c) -> a b c", &[("b", 5), ("c", 2)]);
    assert!(m.contains("dimension 1 has size 12, but (b c) is given as 5 x 2 = 10"), "{m}");
    let m = why("a b -> a", &[]);
    assert!(
        m.contains("axis 'b' (size 12) is missing on the right; to fold it away use reduce"),
        "{m}"
    );
    assert!(
        why("a b -> a b c", &[])
            .contains("axis 'c' of the result is not on the left; the left has 'a' = 2, 'b' = 12")
    );
    assert!(
        why("a b -> b a", &[("c", 2)])
            .contains("a length is given for 'c', which is not in the pattern")
    );
    assert!(why("a a -> a", &[]).contains("axis 'a' appears twice"));
    assert!(why("a b", &[]).contains("there is no '->'"));
    assert!(why("a (b -> b a", &[]).contains("'(' without ')'"));
    assert!(why("a 1 -> a", &[]).contains("dimension 1 is written as 1 but has size 12"));
    assert!(why("a, b -> b a", &[]).contains("',' is not part of a pattern"));
    let m = message(|| drop(Tensor::zeros([2]).repeat_axes("a -> a b", &[])));
    assert!(m.contains("axis 'b' is new on the right and needs a length: &[(\"b\", 2)]"), "{m}");
}

#[test]
fn rearranging_in_halves_has_gradients() {
    manual_seed(1);
    let x = Tensor::rand([2, 6]).requires_grad();
    let y = x.rearrange("a (b c) -> b a c", &[("b", 2)]).reduce("b a c -> a b", Fold::Prod, &[]);
    y.sum(..).backward();
    let (v, g) = (x.to_vec::<f32>(), x.grad().unwrap().to_vec::<f32>());
    assert!((g[0] - v[1] * v[2]).abs() < 1e-6 && (g[11] - v[9] * v[10]).abs() < 1e-6);
}
