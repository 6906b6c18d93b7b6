//! Composed operations: gradients against central differences in f64, and values at the edges, where mistakes live.

mod support;

use hardpan_engine::tensor::difference::Spacing;
use hardpan_engine::tensor::linalg::MatrixNorm;
use hardpan_engine::tensor::norms::{clip_grad_norm, clip_grad_value};
use hardpan_engine::tensor::sort::Interpolation;
use hardpan_engine::{DType, Tensor, grad};
use support::{Numbers, check_gradient};

fn input(seed: u64, shape: &[usize], scale: f64, shift: f64) -> Tensor {
    let n = shape.iter().product();
    let data: Vec<f64> = Numbers(seed).vec(n).iter().map(|x| x * scale + shift).collect();
    Tensor::from_slice(&data, shape)
}

fn list(x: &[f32]) -> Tensor {
    Tensor::from_slice(x, [x.len()])
}

fn same(got: &Tensor, want: &[f64]) {
    let got = got.to_vec::<f64>();
    assert_eq!(got.len(), want.len(), "{got:?} {want:?}");
    for (g, w) in got.iter().zip(want) {
        let good = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= 1e-6 * (1.0 + w.abs());
        assert!(good, "got {got:?}, expected {want:?}");
    }
}

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

#[test]
fn gradients_of_elementwise_functions() {
    type F = fn(&Tensor) -> Tensor;
    let list: &[(&str, F, f64, f64)] = &[
        ("sigmoid", Tensor::sigmoid, 3.0, 0.0),
        ("rsqrt", Tensor::rsqrt, 0.4, 1.0),
        ("exp2", Tensor::exp2, 2.0, 0.0),
        ("log2", Tensor::log2, 0.4, 1.0),
        ("log10", Tensor::log10, 0.4, 1.0),
        ("sinc", Tensor::sinc, 2.0, 0.1),
        ("frac", Tensor::frac, 0.3, 1.5),
        ("entr", Tensor::entr, 0.4, 1.0),
        ("i0e", Tensor::i0e, 0.4, 1.0),
        ("ndtr", Tensor::ndtr, 2.0, 0.0),
        ("logit", |x| x.logit(None), 0.3, 0.5),
        ("polygamma", |x| x.polygamma(2), 0.4, 2.0),
    ];
    for (name, f, scale, shift) in list {
        check_gradient(name, &[input(5, &[5], *scale, *shift)], |x| f(&x[0]));
    }
    type G = fn(&Tensor, &Tensor) -> Tensor;
    let list: &[(&str, G)] = &[
        ("hypot", |a, b| a.hypot(b)),
        ("logaddexp", |a, b| a.logaddexp(b)),
        ("logaddexp2", |a, b| a.logaddexp2(b)),
        ("xlogy", |a, b| a.xlogy(b)),
        ("xlog1py", |a, b| a.xlog1py(b)),
        ("lerp", |a, b| a.lerp(b, 0.3)),
        ("remainder", |a, b| a.remainder(b)),
        ("copysign", |a, b| a.copysign(b)),
        ("addcmul", |a, b| a.addcmul(b, b, 0.5)),
        ("addcdiv", |a, b| a.addcdiv(a, b, 0.5)),
        ("fmax", |a, b| a.fmax(b)),
        ("rsub", |a, b| a.rsub(b, 2)),
    ];
    for (name, f) in list {
        let xs = [input(1, &[2, 3], 0.9, 2.0), input(2, &[3], 0.4, 1.3)];
        check_gradient(name, &xs, |x| f(&x[0], &x[1]));
    }
}

#[test]
fn gradients_of_folds_and_scans() {
    let x = input(3, &[3, 4], 1.0, 0.2);
    type F = fn(&Tensor) -> Tensor;
    let cases: &[(&str, F)] = &[
        ("prod", |x| x.prod(1)),
        ("logsumexp", |x| x.logsumexp([0, 1])),
        ("var", |x| x.var(0, 1.0)),
        ("std", |x| x.std(.., 0.0)),
        ("std_mean", |x| x.std_mean(1, 1.0).0),
        ("cov", |x| x.cov(1.0, None, None)),
        ("corrcoef", Tensor::corrcoef),
        ("norm 3", |x| x.norm(3.0, 1)),
        ("norm inf", |x| x.norm(f64::INFINITY, 1)),
        ("norm -2", |x| x.norm(-2.0, 1)),
        ("max", |x| x.max_dim(1).0),
        ("median", |x| x.median_dim(1).0),
        ("sort", |x| x.sort(1, true).0),
        ("topk", |x| x.topk(2, 0, false).0),
        ("cumprod", |x| x.cumprod(1)),
        ("logcumsumexp", |x| x.logcumsumexp(1)),
        ("cummax", |x| x.cummax(1).0),
        ("trapezoid", |x| x.trapezoid(None, 0.5, 1)),
        ("gradient", |x| x.gradient(Spacing::Equal(0.5), 1, 2)),
        ("renorm", |x| x.renorm(2.0, 0, 0.5)),
    ];
    for (name, f) in cases {
        check_gradient(name, std::slice::from_ref(&x), |x| f(&x[0]));
    }
    let q = Tensor::from_slice(&[0.2f64, 0.7], [2]);
    check_gradient("quantile", &[x.clone(), q], |x| {
        x[0].quantile(&x[1], Some(1), false, Interpolation::Linear, false)
    });
    check_gradient("cdist", &[x.clone(), input(4, &[2, 4], 1.0, 0.0)], |x| x[0].cdist(&x[1], 2.0));
}

#[test]
fn gradients_of_products() {
    let (a, b) = (input(1, &[3, 3], 1.0, 0.0), input(2, &[3, 3], 1.0, 0.0));
    let both = [a.clone(), b.clone()];
    check_gradient("kron", &both, |x| x[0].kron(&x[1]));
    check_gradient("cross", &both, |x| x[0].cross(&x[1], 0));
    check_gradient("inner", &both, |x| x[0].inner(&x[1]));
    check_gradient("addmm", &both, |x| x[0].addmm(&x[0], &x[1], 0.5, 2.0));
    check_gradient("chain", &both, |x| {
        Tensor::multi_dot(&[x[0].clone(), x[1].clone(), x[0].clone()])
    });
    check_gradient("power", &both[..1], |x| x[0].matrix_power(3));
}

#[test]
fn gradients_of_factorizations() {
    let a = input(1, &[2, 3, 3], 1.0, 0.0) + Tensor::eye(3, 3).to_dtype(DType::F64) * 2.0;
    let b = input(2, &[2, 3, 2], 1.0, 0.0);
    let one = std::slice::from_ref(&a);
    check_gradient("solve", &[a.clone(), b], |x| x[0].solve(&x[1]));
    check_gradient("inverse", one, |x| x[0].inverse());
    check_gradient("det", one, |x| x[0].det());
    check_gradient("slogdet", one, |x| x[0].slogdet().1);
    check_gradient("cholesky", one, |x| x[0].matmul(&x[0].mt()).cholesky(false));
    check_gradient("eigenvalues", one, |x| (&x[0] + x[0].mt()).eigh(false).0);
    // Eigenvectors are known up to their sign only: square them.
    check_gradient("eigenvectors", one, |x| (&x[0] + x[0].mt()).eigh(false).1.square());
    check_gradient("matrix_exp", one, |x| x[0].matrix_exp());
    check_gradient("nuclear", one, |x| x[0].matrix_norm(MatrixNorm::Nuclear, [-2, -1]));
    for shape in [[4, 2], [2, 4], [3, 3]] {
        let x = [input(9, &shape, 1.0, 0.0)];
        check_gradient("qr", &x, |x| {
            let (q, r) = x[0].qr(false);
            Tensor::cat(&[q.square().reshape([-1isize]), r.square().reshape([-1isize])], 0)
        });
        check_gradient("svd", &x, |x| {
            let (u, s, vt) = x[0].svd();
            let parts = [u.square(), s.clone(), vt.square(), u.matmul(&vt)];
            let flat: Vec<Tensor> = parts.iter().map(|p| p.reshape([-1isize])).collect();
            Tensor::cat(&flat, 0)
        });
        check_gradient("pinv", &x, |x| x[0].pinv(None, None));
    }
}

#[test]
fn gradients_where_formulas_break_down() {
    let at = |x: &[f32], f: &dyn Fn(&Tensor) -> Tensor| {
        let x = list(x).requires_grad();
        grad(&f(&x).sum(..), &[&x]).remove(0)
    };
    same(&at(&[0.0, 0.0], &|x| x.norm(2.0, ..)), &[0.0, 0.0]);
    same(&at(&[0.0, 0.0], &|x| x.norm(1.5, ..)), &[0.0, 0.0]);
    same(&at(&[1.0, 1.0], &|x| x.std(.., 1.0)), &[0.0, 0.0]);
    same(&at(&[0.0, 2.0, 3.0], &|x| x.prod(..)), &[6.0, 0.0, 0.0]);
    same(&at(&[-200.0, 200.0], &|x| x.sigmoid()), &[0.0, 0.0]);
    same(&at(&[0.0], &|x| x.sinc()), &[0.0]);
    same(&at(&[-1.0, 0.0, 1.0], &|x| x.clamp(-1.0, 1.0)), &[0.0, 1.0, 0.0]);
    same(&at(&[2.0, 2.0, 1.0], &|x| x.max()), &[0.5, 0.5, 0.0]);
    same(&at(&[2.0, 2.0, 1.0], &|x| x.max_dim(0).0), &[1.0, 0.0, 0.0]);
    same(&at(&[2.0, 2.0, 2.0, 9.0], &|x| x.median()), &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0]);
    same(&at(&[-3.0, 0.0, 3.0], &|x| x.sign()), &[0.0, 0.0, 0.0]);
}

#[test]
fn rounding_and_division() {
    let x = list(&[-2.5, -0.5, 0.5, 1.5, 2.7]);
    same(&x.round(), &[-2.0, 0.0, 0.0, 2.0, 3.0]);
    same(&x.trunc(), &[-2.0, 0.0, 0.0, 1.0, 2.0]);
    same(&x.ceil(), &[-2.0, 0.0, 1.0, 2.0, 3.0]);
    same(&list(&[1234.567]).round_decimals(-2), &[1200.0]);
    same(&x.floor_divide(2.0), &[-2.0, -1.0, 0.0, 0.0, 1.0]);
    let i = Tensor::from_slice(&[-7i64, -6, 7], [3]);
    same(&i.floor_divide(4), &[-2.0, -2.0, 1.0]);
    same(&i.trunc_divide(4), &[-1.0, -1.0, 1.0]);
    same(&i.remainder(4), &[1.0, 2.0, 3.0]);
    same(&i.remainder(-4), &[-3.0, -2.0, -1.0]);
    same(&i.gcd(14), &[7.0, 2.0, 7.0]);
    same(&i.lcm(4), &[28.0, 12.0, 28.0]);
    assert_eq!(i.div(2).dtype(), DType::F32);
    assert_eq!(list(&[-0.0, 0.0]).signbit().to_vec::<bool>(), [true, false]);
    same(&list(&[NAN, INF, -INF]).nan_to_num(1.0, Some(2.0), None), &[1.0, 2.0, f32::MIN as f64]);
    same(&list(&[8.0, 0.75, 0.0]).frexp().0, &[0.5, 0.75, 0.0]);
    same(&list(&[8.0, 0.75, 0.0]).frexp().1, &[4.0, 0.0, 0.0]);
}

#[test]
fn folds_at_the_edges() {
    let none = Tensor::zeros([2, 0]);
    same(&none.prod(1), &[1.0, 1.0]);
    assert_eq!(none.all(1).to_vec::<bool>(), [true, true]);
    assert_eq!(none.any(1).to_vec::<bool>(), [false, false]);
    same(&none.logsumexp(1), &[f64::NEG_INFINITY; 2]);
    assert!(list(&[1.0]).var(.., 1.0).item::<f32>().is_nan());
    same(&list(&[-INF, -INF]).logsumexp(..), &[f64::NEG_INFINITY]);
    same(&list(&[1000.0, 1000.0]).logsumexp(..), &[1000.0 + 2f64.ln()]);
    same(&list(&[1.0, NAN, 3.0]).nanmean(..), &[2.0]);
    same(&list(&[1.0, NAN, 3.0]).nanmedian(), &[1.0]);
    same(&list(&[1.0, NAN, 3.0]).median(), &[f64::NAN]);
    let (v, i) = list(&[1.0, NAN, 3.0]).cummax(0);
    same(&v, &[1.0, f64::NAN, f64::NAN]);
    same(&i, &[0.0, 1.0, 1.0]);
    same(&list(&[1.0, 2.0, 2.0, 3.0, 3.0]).mode(0).0, &[2.0]);
    let zero_rank = Tensor::scalar(4.0f32);
    same(&zero_rank.max_dim(0).0, &[4.0]);
    same(&zero_rank.sort(-1, false).1, &[0.0]);
    assert_eq!(Tensor::scalar(true).sum(..).dtype(), DType::I64);
}

#[test]
fn order_and_counting() {
    let row = list(&[1.0, 3.0, 5.0, 7.0, 9.0]);
    let values = list(&[0.0, 1.0, 4.0, 9.0, 10.0]);
    same(&row.searchsorted(&values, false), &[0.0, 0.0, 2.0, 4.0, 5.0]);
    same(&row.searchsorted(&values, true), &[0.0, 1.0, 2.0, 5.0, 5.0]);
    // Against counting, for every length up to past a power of two.
    for n in 0..18 {
        let row = Tensor::arange(0, 2 * n, 2);
        let want: Vec<f64> = (-1..=2 * n).map(|v| ((v + 1) / 2).clamp(0, n) as f64).collect();
        same(&row.searchsorted(&Tensor::arange(-1, 2 * n + 1, 1), false), &want);
    }
    let u = Tensor::from_slice(&[2i64, 1, 2, 3, 3, 3], [6]);
    same(&u.unique(None).counts, &[1.0, 2.0, 3.0]);
    same(&u.unique_consecutive(None).values, &[2.0, 1.0, 2.0, 3.0]);
    let rows = u.reshape([3, 2]).unique(Some(0));
    assert_eq!(rows.values.shape(), [3, 2]);
    assert_eq!(u.isin(&Tensor::from_slice(&[3i64, 7], [2])).to_vec::<bool>()[2..4], [false, true]);
    let many = Tensor::arange(0, 100, 2);
    same(&many.isin(&Tensor::arange(0, 99, 3)).to_dtype(DType::I64).sum(..), &[17.0]);
    same(&u.bincount(None, 5), &[0.0, 1.0, 2.0, 3.0, 0.0]);
    same(&list(&[0.0, 1.0, 1.5, 4.0, 9.0]).histc(4, 0.0, 4.0), &[1.0, 2.0, 0.0, 1.0]);
    let q = Tensor::scalar(0.5f64);
    same(
        &list(&[3.0, 1.0, 2.0, 10.0]).quantile(&q, None, false, Interpolation::Linear, false),
        &[2.5],
    );
}

#[test]
fn a_singular_matrix() {
    let a = Tensor::from_slice(&[1.0f64, 2.0, 2.0, 4.0], [2, 2]).requires_grad();
    let d = a.det();
    same(&d, &[0.0]);
    same(&grad(&d, &[&a])[0], &[4.0, -2.0, -2.0, 1.0]);
    same(&a.matrix_rank(None, None), &[1.0]);
    let p = a.pinv(None, None);
    same(&a.matmul(&p).matmul(&a), &[1.0, 2.0, 2.0, 4.0]);
}

#[test]
fn clipping_gradients() {
    let g = [list(&[3.0]), list(&[4.0])];
    let (total, clipped) = clip_grad_norm(&g, 1.0, 2.0);
    same(&total, &[5.0]);
    same(&clipped[1], &[0.8]);
    same(&clip_grad_norm(&g, 10.0, 2.0).1[0], &[3.0]);
    same(&clip_grad_value(&g, 3.5)[1], &[3.5]);
}

#[test]
#[should_panic(expected = "solve: matrices [2, 2] and right-hand sides [3] do not fit")]
fn sizes_that_do_not_fit() {
    Tensor::ones([2, 2]).solve(&Tensor::ones([3]));
}
