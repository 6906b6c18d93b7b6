//! `hardpan ladder`: the table of the course's first lesson, a matrix product written five times, each way faster.

use crate::args::Ladder;
use crate::output::Output;
use anyhow::{Result, ensure};
use hardpan::prelude::*;
use serde_json::json;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A row-major matrix.
struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f32>,
}

impl Matrix {
    fn random(rows: usize, cols: usize) -> Matrix {
        Matrix { rows, cols, data: Tensor::rand([rows, cols]).to_vec() }
    }

    fn tensor(&self) -> Tensor {
        Tensor::from_slice(&self.data, [self.rows, self.cols])
    }
}

/// The definition: for each row of `a` and each column of `b`, the sum of products.
fn loops(a: &Matrix, b: &Matrix) -> Vec<f32> {
    let mut c = vec![0.0; a.rows * b.cols];
    for i in 0..a.rows {
        for j in 0..b.cols {
            for k in 0..a.cols {
                c[i * b.cols + j] += a.data[i * a.cols + k] * b.data[k * b.cols + j];
            }
        }
    }
    c
}

/// The innermost loop as a sum over a row and a column.
fn iterators(a: &Matrix, b: &Matrix) -> Vec<f32> {
    let dot = |row: &[f32], j: usize| -> f32 {
        row.iter().zip(b.data[j..].iter().step_by(b.cols)).map(|(x, y)| x * y).sum()
    };
    let rows = a.data.chunks(a.cols);
    rows.flat_map(|row| (0..b.cols).map(move |j| dot(row, j))).collect()
}

/// A row of `c` at a time: the row of `a` as a column, times all of `b`, summed down.
fn broadcasting(a: &Tensor, b: &Tensor) -> Tensor {
    let row = |i: usize| (a.select(0, i as isize).unsqueeze(1) * b).sum(0).eval().clone();
    let rows: Vec<Tensor> = (0..a.size(0)).map(row).collect();
    Tensor::stack(&rows, 0)
}

pub fn run(args: &Ladder, out: &Output) -> Result<()> {
    manual_seed(42);
    let secs = Duration::from_secs_f64(args.secs);
    for (m, k, n) in [(5, 784, 10), (512, 512, 512)] {
        let (a, b) = (Matrix::random(m, k), Matrix::random(k, n));
        let (ta, tb) = (a.tensor(), b.tensor());
        out.line(format!(
            "[{m}, {k}] @ [{k}, {n}]\n  {:22} {:>10} {:>10} {:>10}   differs by",
            "how", "time", "GFLOP/s", "speed-up"
        ));
        type Way<'a> = (&'static str, Box<dyn Fn() -> Vec<f32> + 'a>, Box<dyn Fn() + 'a>);
        let eval = |f: &dyn Fn() -> Tensor| {
            black_box(f().eval());
        };
        let (ta, tb) = (&ta, &tb);
        let ways: Vec<Way<'_>> = vec![
            (
                "three nested loops",
                Box::new(|| loops(&a, &b)),
                Box::new(|| drop(black_box(loops(&a, &b)))),
            ),
            (
                "rows and columns",
                Box::new(|| iterators(&a, &b)),
                Box::new(|| drop(black_box(iterators(&a, &b)))),
            ),
            (
                "broadcasting",
                Box::new(move || broadcasting(ta, tb).to_vec()),
                Box::new(move || eval(&|| broadcasting(ta, tb))),
            ),
            (
                "einsum \"ik,kj->ij\"",
                Box::new(move || Tensor::einsum("ik,kj->ij", &[ta, tb]).to_vec()),
                Box::new(move || eval(&|| Tensor::einsum("ik,kj->ij", &[ta, tb]))),
            ),
            (
                "matmul",
                Box::new(move || ta.matmul(tb).to_vec()),
                Box::new(move || eval(&|| ta.matmul(tb))),
            ),
        ];
        let want = ways[0].1();
        let mut first = 0.0;
        for (name, value, work) in &ways {
            let got = value();
            let difference = got
                .iter()
                .zip(&want)
                .map(|(g, w)| (g - w).abs() / w.abs().max(1.0))
                .fold(0.0, f32::max);
            ensure!(
                got.len() == want.len() && difference < 1e-4,
                "{name} gives something else than three nested loops: it differs by {difference}"
            );
            let time = fastest(secs, work);
            if first == 0.0 {
                first = time;
            }
            let gflops = 2.0 * (m * k * n) as f64 / time / 1e9;
            let speedup = first / time;
            out.event(&json!({
                "shape": [m, k, n], "way": name, "seconds": time, "gflops": gflops,
                "speedup": speedup, "difference": difference,
            }));
            out.line(format!(
                "  {name:22} {:>10} {gflops:>10.2} {:>9.1}x   {difference:.0e}",
                human(time),
                speedup
            ));
        }
        out.line("");
    }
    Ok(())
}

/// Seconds of the fastest of many runs, in `time` altogether.
fn fastest(time: Duration, work: &dyn Fn()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while best.is_infinite() || start.elapsed() < time {
        let one = Instant::now();
        work();
        best = best.min(one.elapsed().as_secs_f64());
    }
    best
}

fn human(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}
