//! [`Summary`]: what a model is made of, layer by layer, and what it costs.

use crate::hook::{Hooks, Tensors};
use crate::{Forward, Module, evaluating};
use hardpan_engine::no_grad;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

/// One module of a [`Summary`].
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Conv2d, Module, ReLU, seq};
/// let model = seq![Conv2d::new(1, 8, 3), ReLU];
/// let summary = model.summary(&Tensor::zeros([2, 1, 6, 6]));
/// let conv = &summary.rows[1];
/// assert_eq!((conv.path.as_str(), conv.type_name, conv.depth), ("0", "Conv2d", 1));
/// assert_eq!((conv.output_shapes[0].as_slice(), conv.parameters), (&[2, 8, 4, 4][..], 80));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SummaryRow {
    /// Where the module is in the model; "" for the model itself.
    pub path: String,
    /// The name of its type.
    pub type_name: &'static str,
    /// How many modules it is inside of.
    pub depth: usize,
    /// Shapes of what came out of its first call. Empty if [hooks](crate::hook) do not see it, or it was not called.
    pub output_shapes: Vec<Vec<usize>>,
    /// How often hooks saw it called.
    pub calls: usize,
    /// Elements of all its parameters, those of modules inside too.
    pub parameters: usize,
    /// Those of them that are not frozen.
    pub trainable: usize,
    /// Multiply-adds of its matrix products and convolutions in one forward pass, modules inside too; `None` where it was not seen.
    pub multiply_adds: Option<u64>,
    /// Whether there are no modules inside.
    pub is_leaf: bool,
}

/// The modules of a model with shapes, parameters and costs for one input; made by [`Module::summary`]. Printing it gives a table.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Conv2d, Module, ReLU, seq};
/// let model = seq![Conv2d::new(1, 8, 3), ReLU];
/// let summary = model.summary(&Tensor::zeros([2, 1, 6, 6]));
/// assert_eq!(summary.multiply_adds, 2 * 8 * 16 * 9);
/// assert!(summary.to_string().contains("Parameters:   80"));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// Every module, parents first.
    pub rows: Vec<SummaryRow>,
    /// Shapes of the input.
    pub input_shapes: Vec<Vec<usize>>,
    /// Elements of all parameters, shared ones counted once.
    pub parameters: usize,
    /// Those of them that are not frozen.
    pub trainable: usize,
    /// Multiply-adds of all matrix products and convolutions of one forward pass; twice as many floating point operations.
    pub multiply_adds: u64,
    /// Memory of the input.
    pub input_bytes: usize,
    /// Memory of what comes out of layers that hooks saw: roughly what a training step keeps for the way back.
    pub activation_bytes: usize,
    /// Memory of parameters and buffers.
    pub state_bytes: usize,
}

#[derive(Default)]
struct Seen {
    calls: usize,
    shapes: Vec<Vec<usize>>,
    multiply_adds: u64,
    bytes: usize,
}

/// See [`Module::summary`].
#[track_caller]
pub(crate) fn summarize<M, X>(model: &M, x: &X) -> Summary
where
    M: Forward<X, Output: Tensors> + Module,
    X: Tensors,
{
    // By path and type: a newtype has the path of what it wraps.
    type Key = (String, &'static str);
    let seen: Arc<Mutex<HashMap<Key, Seen>>> = Arc::default();
    let hooks = Hooks::new();
    let into = seen.clone();
    hooks.after("*", move |call| {
        let mut seen = into.lock().unwrap_or_else(|e| e.into_inner());
        let seen = seen.entry((call.path.to_owned(), call.module.type_name())).or_default();
        if seen.calls == 0 {
            seen.shapes = call.outputs.iter().map(|t| t.shape().to_vec()).collect();
        }
        seen.calls += 1;
        seen.multiply_adds += call.multiply_adds;
        seen.bytes += call.outputs.iter().map(|t| t.numel() * t.dtype().size()).sum::<usize>();
    });
    evaluating(model, || no_grad(|| drop(hooks.run(model, x))));

    let mut rows = Vec::new();
    model.for_each_module(&mut |path, module| {
        let mut inside = 0;
        module.for_each_module(&mut |_, _| inside += 1);
        rows.push(SummaryRow {
            path: path.to_owned(),
            type_name: module.type_name(),
            depth: 0,
            output_shapes: Vec::new(),
            calls: 0,
            parameters: module.num_parameters(),
            trainable: module.num_trainable(),
            multiply_adds: None,
            is_leaf: inside == 1,
        });
        // Set below; for now how many modules follow that are inside.
        rows.last_mut().expect("just pushed").depth = inside - 1;
    });
    let mut open: Vec<usize> = Vec::new();
    let mut seen = seen.lock().unwrap_or_else(|e| e.into_inner());
    let mut activation_bytes = 0;
    for (i, row) in rows.iter_mut().enumerate() {
        let inside = std::mem::replace(&mut row.depth, 0);
        open.retain(|end| *end > i);
        row.depth = open.len();
        open.push(i + 1 + inside);
        if let Some(s) = seen.remove(&(row.path.clone(), row.type_name)) {
            row.calls = s.calls;
            row.output_shapes = s.shapes;
            row.multiply_adds = Some(s.multiply_adds);
            if row.is_leaf {
                activation_bytes += s.bytes;
            }
        }
    }
    let bytes = |t: &hardpan_engine::Tensor| t.numel() * t.dtype().size();
    let params: usize = model.parameters().iter().map(|p| bytes(&p.value())).sum();
    let buffers: usize = model.buffers().iter().map(|b| bytes(&b.value())).sum();
    Summary {
        input_shapes: x.tensors().iter().map(|t| t.shape().to_vec()).collect(),
        parameters: model.num_parameters(),
        trainable: model.num_trainable(),
        multiply_adds: rows.first().and_then(|r| r.multiply_adds).unwrap_or(0),
        input_bytes: x.tensors().iter().map(bytes).sum(),
        activation_bytes,
        state_bytes: params + buffers,
        rows,
    }
}

impl Summary {
    /// Floating point operations of the matrix products and convolutions of one forward pass: two for each multiply-add.
    pub fn flops(&self) -> u64 {
        2 * self.multiply_adds
    }

    /// Down to so many levels of modules: 0 is the model alone.
    #[must_use]
    pub fn depth(mut self, depth: usize) -> Summary {
        self.rows.retain(|r| r.depth <= depth);
        self
    }
}

/// `1234567` as `1,234,567`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

fn megabytes(bytes: usize) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

fn shapes(list: &[Vec<usize>]) -> String {
    list.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["Layer", "Output shape", "Params", "Trainable", "Mult-adds"].map(String::from);
        let mut table = vec![head];
        for row in &self.rows {
            let name = row.path.rsplit('.').next().unwrap_or("");
            let indent = "  ".repeat(row.depth);
            let colon = if name.is_empty() { "" } else { ": " };
            let times = if row.calls > 1 { format!(" x{}", row.calls) } else { String::new() };
            let out = match row.calls {
                0 => "-".to_owned(),
                _ => shapes(&row.output_shapes),
            };
            let own = row.is_leaf || row.parameters > 0;
            table.push([
                format!("{indent}{name}{colon}{}{times}", row.type_name),
                out,
                if own { grouped(row.parameters as u64) } else { String::new() },
                match (row.parameters, row.trainable) {
                    (0, _) => String::new(),
                    (n, t) if n == t => "yes".to_owned(),
                    (_, 0) => "no".to_owned(),
                    (_, t) => grouped(t as u64),
                },
                row.multiply_adds.map(grouped).unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        let widths: Vec<usize> =
            (0..5).map(|c| table.iter().map(|r| r[c].chars().count()).max().unwrap_or(0)).collect();
        let line = "-".repeat(widths.iter().sum::<usize>() + 8);
        for (i, r) in table.iter().enumerate() {
            let text = format!(
                "{:<a$}  {:<b$}  {:>c$}  {:>d$}  {:>e$}",
                r[0],
                r[1],
                r[2],
                r[3],
                r[4],
                a = widths[0],
                b = widths[1],
                c = widths[2],
                d = widths[3],
                e = widths[4]
            );
            writeln!(f, "{}", text.trim_end())?;
            if i == 0 {
                writeln!(f, "{line}")?;
            }
        }
        writeln!(f, "{line}")?;
        writeln!(
            f,
            "Input:        {} ({})",
            shapes(&self.input_shapes),
            megabytes(self.input_bytes)
        )?;
        writeln!(
            f,
            "Parameters:   {} ({} trainable, {} frozen)",
            grouped(self.parameters as u64),
            grouped(self.trainable as u64),
            grouped((self.parameters - self.trainable) as u64)
        )?;
        writeln!(
            f,
            "Mult-adds:    {} ({:.2} MFLOPs)",
            grouped(self.multiply_adds),
            self.flops() as f64 / 1e6
        )?;
        write!(
            f,
            "Memory:       {} parameters and buffers, {} activations",
            megabytes(self.state_bytes),
            megabytes(self.activation_bytes)
        )
    }
}
