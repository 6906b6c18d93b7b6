//! Tensors as text, the way PyTorch prints them.
//!
//! Aligned columns, four digits, scientific notation when magnitudes are far apart, and only the edges of what has more than
//! 1000 elements. After the values: shape, dtype, and whether a gradient is wanted.

use crate::dtype::Scalar;
use crate::host::HostArray;
use crate::node::{Tensor, no_grad};
use std::fmt;

/// Tensors with more elements are summarized.
const THRESHOLD: usize = 1000;
/// Elements shown at each end of a summarized dimension.
const EDGE: usize = 3;
/// Columns before a line is broken.
const LINE_WIDTH: usize = 80;

/// How the numbers of one tensor are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Style {
    /// As they are: integers and bools.
    Plain,
    /// Floats that are all whole: `3.`
    Whole,
    /// Four digits after the point.
    Fixed,
    /// `1.2345e+06`
    Scientific,
}

struct Format {
    style: Style,
    width: usize,
}

fn scientific(x: f64) -> String {
    let text = format!("{x:.4e}");
    let (digits, exponent) = text.split_once('e').expect("an exponent");
    let (sign, size) = match exponent.strip_prefix('-') {
        Some(size) => ('-', size),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{size:0>2}")
}

fn float(x: f64, style: Style) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf".into() } else { "-inf".into() };
    }
    match style {
        Style::Scientific => scientific(x),
        Style::Fixed => format!("{x:.4}"),
        Style::Whole | Style::Plain => format!("{x:.0}."),
    }
}

impl Format {
    /// Chosen from the values that will be shown.
    fn of(array: &HostArray) -> Format {
        if !array.dtype().is_float() {
            let width = (0..array.len()).map(|i| plain(array.get(i)).len()).max().unwrap_or(0);
            return Format { style: Style::Plain, width };
        }
        let shown: Vec<f64> = (0..array.len())
            .map(|i| array.get(i).as_f64())
            .filter(|x| x.is_finite() && *x != 0.0)
            .collect();
        if shown.is_empty() {
            return Format { style: Style::Whole, width: 2 };
        }
        let low = shown.iter().fold(f64::INFINITY, |a, x| a.min(x.abs()));
        let high = shown.iter().fold(0.0f64, |a, x| a.max(x.abs()));
        let whole = shown.iter().all(|x| x.fract() == 0.0);
        let spread = high / low > 1000.0 || high > 1e8;
        let style = match whole {
            _ if spread || (!whole && low < 1e-4) => Style::Scientific,
            true => Style::Whole,
            false => Style::Fixed,
        };
        let width = shown.iter().map(|x| float(*x, style).len()).max().unwrap_or(1);
        Format { style, width }
    }

    fn text(&self, value: Scalar) -> String {
        let text = match (self.style, value) {
            (Style::Plain, v) => plain(v),
            (style, v) => float(v.as_f64(), style),
        };
        format!("{text:>width$}", width = self.width)
    }
}

fn plain(value: Scalar) -> String {
    match value {
        Scalar::Bool(b) => b.to_string(),
        Scalar::Int(i) => i.to_string(),
        Scalar::Float(f) => f.to_string(),
    }
}

/// Where the shown part of a dimension has its gap.
fn gap(size: usize, summarize: bool) -> Option<usize> {
    (summarize && size > 2 * EDGE).then_some(EDGE)
}

struct Writer<'a> {
    array: &'a HostArray,
    /// Sizes of the whole tensor; `array` holds the shown part.
    full: &'a [usize],
    format: Format,
    summarize: bool,
}

impl Writer<'_> {
    /// The block of dimension `d` and below that starts at element `at`, `indent` columns in.
    fn block(&self, d: usize, at: usize, indent: usize) -> String {
        let shape = self.array.shape();
        if d == shape.len() {
            return self.format.text(self.array.get(at));
        }
        let gap = gap(self.full[d], self.summarize);
        if d + 1 == shape.len() {
            return self.row(at, shape[d], gap, indent);
        }
        let stride: usize = shape[d + 1..].iter().product();
        let mut parts: Vec<String> =
            (0..shape[d]).map(|i| self.block(d + 1, at + i * stride, indent + 1)).collect();
        if let Some(g) = gap {
            parts.insert(g, "...".into());
        }
        let newlines = "\n".repeat(shape.len() - d - 1);
        format!("[{}]", parts.join(&format!(",{newlines}{}", " ".repeat(indent + 1))))
    }

    fn row(&self, at: usize, n: usize, gap: Option<usize>, indent: usize) -> String {
        let per_line = (LINE_WIDTH.saturating_sub(indent) / (self.format.width + 2)).max(1);
        let mut parts: Vec<String> =
            (0..n).map(|i| self.format.text(self.array.get(at + i))).collect();
        if let Some(g) = gap {
            parts.insert(g, " ...".into());
        }
        let lines: Vec<String> = parts.chunks(per_line).map(|c| c.join(", ")).collect();
        format!("[{}]", lines.join(&format!(",\n{}", " ".repeat(indent + 1))))
    }
}

/// The values in brackets; `indent` is the column where they start.
fn values(t: &Tensor, indent: usize) -> String {
    if t.numel() == 0 {
        return "[]".into();
    }
    t.eval();
    let summarize = t.numel() > THRESHOLD;
    let mut shown = t.detach();
    if summarize {
        for d in 0..t.rank() {
            let n = t.shape()[d];
            if gap(n, true).is_some() {
                let k = d as isize;
                let ends = [shown.narrow(k, 0, EDGE), shown.narrow(k, n - EDGE, EDGE)];
                shown = Tensor::cat(&ends, k);
            }
        }
    }
    let array = shown.to_host();
    let format = Format::of(&array);
    Writer { array: &array, full: t.shape(), format, summarize }.block(0, 0, indent)
}

/// ```
/// use hardpan_engine::Tensor;
/// let t = Tensor::from_slice(&[1.0f32, 2.5, -3.0, 4.0], [2, 2]);
/// assert_eq!(
///     t.to_string(),
///     "tensor([[ 1.0000,  2.5000],\n        [-3.0000,  4.0000]], shape=[2, 2], dtype=f32)"
/// );
/// ```
impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const START: &str = "tensor(";
        let body = no_grad(|| values(self, START.len()));
        let mut suffixes =
            vec![format!("shape={:?}", self.shape()), format!("dtype={}", self.dtype())];
        if self.is_requires_grad() {
            suffixes.push("requires_grad=true".into());
        }
        let mut column = match body.rfind('\n') {
            Some(p) => body.len() - p,
            None => body.len() + START.len(),
        };
        write!(f, "{START}{body}")?;
        for s in suffixes {
            if column + s.len() + 2 > LINE_WIDTH {
                write!(f, ",\n{}{s}", " ".repeat(START.len()))?;
                column = START.len() + s.len();
            } else {
                write!(f, ", {s}")?;
                column += s.len() + 2;
            }
        }
        f.write_str(")")
    }
}

/// As [`fmt::Display`]; computes the values.
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print<T: crate::Element>(data: &[T], shape: &[usize]) -> String {
        let array = HostArray::new(data, shape);
        let format = Format::of(&array);
        Writer { array: &array, full: shape, format, summarize: false }.block(0, 0, 7)
    }

    #[test]
    fn styles() {
        assert_eq!(print(&[1.0f32, 2.0, -3.0], &[3]), "[ 1.,  2., -3.]");
        assert_eq!(print(&[0.0f32, 0.0], &[2]), "[0., 0.]");
        assert_eq!(print(&[0.5f32, 10.25], &[2]), "[ 0.5000, 10.2500]");
        assert_eq!(print(&[1e-5f32, 1.0], &[2]), "[1.0000e-05, 1.0000e+00]");
        assert_eq!(print(&[1e9f32], &[1]), "[1.0000e+09]");
        assert_eq!(print(&[f32::NAN, 1.0, f32::NEG_INFINITY], &[3]), "[nan, 1., -inf]");
        assert_eq!(print(&[f32::NAN, 1.5], &[2]), "[   nan, 1.5000]");
        assert_eq!(print(&[1i64, -20, 300], &[3]), "[  1, -20, 300]");
        assert_eq!(print(&[true, false], &[2]), "[ true, false]");
        assert_eq!(print(&[2.5f64], &[]), "2.5000");
        assert_eq!(scientific(0.0), "0.0000e+00");
        assert_eq!(scientific(-1.5e-120), "-1.5000e-120");
    }

    #[test]
    fn blocks_and_long_rows() {
        let v: Vec<i64> = (0..8).collect();
        assert_eq!(
            print(&v, &[2, 2, 2]),
            "[[[0, 1],\n         [2, 3]],\n\n        [[4, 5],\n         [6, 7]]]"
        );
        let v: Vec<i64> = (0..30).collect();
        assert_eq!(
            print(&v, &[30]),
            "[ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,\n        18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29]"
        );
    }
}
