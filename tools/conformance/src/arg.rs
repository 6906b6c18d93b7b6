//! Arguments as recorded, and their binding to PyTorch's signatures.

use hardpan_engine::{DType, Operand, Scalar, Tensor};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::Location;

/// One argument of a call.
#[derive(Clone)]
pub enum Arg {
    Tensor(Tensor),
    Int(i64),
    Float(f64),
    Bool(bool),
    Str(String),
    None,
    List(Vec<Arg>),
    DType(DType),
    /// Python's `start:stop:step`.
    Slice([Option<i64>; 3]),
    Ellipsis,
    /// A module to build as an argument.
    Module(Box<ModuleArg>),
}

/// `{"module": "nn.X", "args": [...], "kwargs": {...}}`
#[derive(Clone)]
#[allow(dead_code, reason = "read by the module cases")]
pub struct ModuleArg {
    pub name: String,
    pub args: Args,
}

impl Arg {
    /// Decodes one argument; `tensor` turns a key into a tensor.
    ///
    /// # Panics
    /// On JSON that the format does not define.
    pub fn decode(json: &Value, tensor: &mut dyn FnMut(&str) -> Tensor) -> Arg {
        match json {
            Value::Null => Arg::None,
            Value::Bool(b) => Arg::Bool(*b),
            Value::Number(n) => match n.as_i64() {
                Some(i) => Arg::Int(i),
                None => Arg::Float(n.as_f64().expect("a number")),
            },
            Value::String(s) => Arg::Str(s.clone()),
            Value::Array(a) => Arg::List(a.iter().map(|x| Arg::decode(x, tensor)).collect()),
            Value::Object(o) => {
                if let Some(key) = o.get("tensor") {
                    return Arg::Tensor(tensor(key.as_str().expect("a key")));
                }
                if let Some(f) = o.get("float") {
                    return Arg::Float(match f.as_str() {
                        Some("inf") => f64::INFINITY,
                        Some("-inf") => f64::NEG_INFINITY,
                        Some("nan") => f64::NAN,
                        other => panic!("unknown float {other:?}"),
                    });
                }
                if let Some(d) = o.get("dtype") {
                    let name = d.as_str().expect("a name");
                    return Arg::DType(
                        DType::from_name(name).unwrap_or_else(|| panic!("unknown dtype {name}")),
                    );
                }
                if let Some(s) = o.get("slice") {
                    return Arg::Slice([s[0].as_i64(), s[1].as_i64(), s[2].as_i64()]);
                }
                if o.contains_key("ellipsis") {
                    return Arg::Ellipsis;
                }
                if let Some(name) = o.get("module") {
                    let args = Args::decode(&o["args"], &o["kwargs"], tensor);
                    let name = name.as_str().expect("a name").to_string();
                    return Arg::Module(Box::new(ModuleArg { name, args }));
                }
                panic!("unknown argument {json}")
            }
        }
    }

    /// The number, if it is one (or a bool).
    pub fn scalar(&self) -> Option<Scalar> {
        match self {
            Arg::Int(i) => Some(Scalar::Int(*i)),
            Arg::Float(f) => Some(Scalar::Float(*f)),
            Arg::Bool(b) => Some(Scalar::Bool(*b)),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub fn int(&self) -> Option<i64> {
        match self {
            Arg::Int(i) => Some(*i),
            Arg::Bool(b) => Some(*b as i64),
            _ => None,
        }
    }

    /// A list of integers; a single integer is a list of one.
    pub fn ints(&self) -> Option<Vec<isize>> {
        match self {
            Arg::Int(i) => Some(vec![*i as isize]),
            Arg::List(l) => l.iter().map(|x| x.int().map(|i| i as isize)).collect(),
            _ => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Arg::Tensor(_) => "tensor",
            Arg::Int(_) => "int",
            Arg::Float(_) => "float",
            Arg::Bool(_) => "bool",
            Arg::Str(_) => "str",
            Arg::None => "None",
            Arg::List(_) => "list",
            Arg::DType(_) => "dtype",
            Arg::Slice(_) => "slice",
            Arg::Ellipsis => "...",
            Arg::Module(_) => "module",
        }
    }
}

/// A tensor or number argument can stand wherever the library takes an operand.
impl Operand for Arg {
    fn tensor_like(&self, like: &Tensor, at: &'static Location<'static>) -> Tensor {
        match self {
            Arg::Tensor(t) => t.clone(),
            other => other
                .scalar()
                .unwrap_or_else(|| panic!("expected a tensor or a number, got {}", other.kind()))
                .tensor_like(like, at),
        }
    }
    fn as_scalar(&self) -> Option<Scalar> {
        self.scalar()
    }
}
impl Operand for &Arg {
    fn tensor_like(&self, like: &Tensor, at: &'static Location<'static>) -> Tensor {
        (**self).tensor_like(like, at)
    }
    fn as_scalar(&self) -> Option<Scalar> {
        self.scalar()
    }
}

/// The arguments of a call. Getters take the position and the name in PyTorch's signature; an absent or `None` argument gives
/// the default. What no getter asked for is reported, so that no option is ignored by mistake.
#[derive(Clone, Default)]
pub struct Args {
    pub pos: Vec<Arg>,
    pub kw: BTreeMap<String, Arg>,
    used: RefCell<(BTreeSet<usize>, BTreeSet<String>)>,
}

/// Keyword arguments that mean nothing here.
const IGNORED: &[&str] = &[
    "device",
    "layout",
    "pin_memory",
    "requires_grad",
    "memory_format",
    "non_blocking",
    "copy",
    "out",
    "inplace",
    "foreach",
    "error_if_nonfinite",
];

impl Args {
    /// Decodes positional and keyword arguments.
    pub fn decode(args: &Value, kwargs: &Value, tensor: &mut dyn FnMut(&str) -> Tensor) -> Args {
        let pos = args
            .as_array()
            .map_or(Vec::new(), |a| a.iter().map(|x| Arg::decode(x, tensor)).collect());
        let kw = kwargs.as_object().map_or(BTreeMap::new(), |o| {
            o.iter().map(|(k, v)| (k.clone(), Arg::decode(v, tensor))).collect()
        });
        Args { pos, kw, used: RefCell::default() }
    }

    /// Number of positional arguments.
    pub fn len(&self) -> usize {
        self.pos.len()
    }

    /// The argument at position `i` or called `name`; `None` and `Arg::None` both mean absent.
    pub fn opt(&self, i: usize, name: &str) -> Option<&Arg> {
        self.raw(i, name).filter(|a| !matches!(a, Arg::None))
    }

    /// As [`Args::opt`], telling an explicit `None` (`Some(Arg::None)`) from an absent argument.
    pub fn raw(&self, i: usize, name: &str) -> Option<&Arg> {
        if let Some(a) = self.pos.get(i) {
            self.used.borrow_mut().0.insert(i);
            return Some(a);
        }
        let a = self.kw.get(name)?;
        self.used.borrow_mut().1.insert(name.to_string());
        Some(a)
    }

    /// An argument that is only ever given by name.
    pub fn named(&self, name: &str) -> Option<&Arg> {
        self.opt(usize::MAX, name)
    }

    /// True when the argument is given (and not `None`).
    pub fn has(&self, i: usize, name: &str) -> bool {
        self.opt(i, name).is_some()
    }

    /// The required argument.
    #[track_caller]
    pub fn arg(&self, i: usize, name: &str) -> &Arg {
        self.opt(i, name).unwrap_or_else(|| panic!("argument {i} ({name}) is missing"))
    }

    /// A required tensor; a plain number becomes a rank-0 tensor of its default dtype.
    #[track_caller]
    pub fn tensor(&self, i: usize, name: &str) -> Tensor {
        let a = self.arg(i, name);
        match (a, a.scalar()) {
            (Arg::Tensor(t), _) => t.clone(),
            (_, Some(s)) => Tensor::full([0usize; 0], s),
            _ => panic!("argument {i} ({name}): expected a tensor, got {}", a.kind()),
        }
    }

    /// A tensor, or `None`.
    pub fn opt_tensor(&self, i: usize, name: &str) -> Option<Tensor> {
        self.opt(i, name)?;
        Some(self.tensor(i, name))
    }

    /// True when the argument is a tensor (not a number).
    pub fn is_tensor(&self, i: usize, name: &str) -> bool {
        matches!(self.opt(i, name), Some(Arg::Tensor(_)))
    }

    /// A list of tensors. Called as `f(t0, t1, ...)` when position `i` holds a tensor.
    #[track_caller]
    pub fn tensors(&self, i: usize, name: &str) -> Vec<Tensor> {
        match self.arg(i, name) {
            Arg::List(l) => l
                .iter()
                .map(|a| match a {
                    Arg::Tensor(t) => t.clone(),
                    _ => panic!("argument {i} ({name}): expected tensors, got {}", a.kind()),
                })
                .collect(),
            Arg::Tensor(_) => (i..self.pos.len()).map(|k| self.tensor(k, name)).collect(),
            a => panic!("argument {i} ({name}): expected a list of tensors, got {}", a.kind()),
        }
    }

    /// An integer, or `None`.
    #[track_caller]
    pub fn opt_int(&self, i: usize, name: &str) -> Option<i64> {
        let a = self.opt(i, name)?;
        match a {
            // PyTorch takes rank-0 integer tensors where it wants an integer.
            Arg::Tensor(t) => Some(t.item::<i64>()),
            _ => Some(a.int().unwrap_or_else(|| {
                panic!("argument {i} ({name}): expected an integer, got {}", a.kind())
            })),
        }
    }

    /// An integer with a default.
    #[track_caller]
    pub fn int(&self, i: usize, name: &str, default: i64) -> i64 {
        self.opt_int(i, name).unwrap_or(default)
    }

    /// A dimension with a default.
    #[track_caller]
    pub fn dim(&self, i: usize, name: &str, default: isize) -> isize {
        self.int(i, name, default as i64) as isize
    }

    /// A real number, or `None`.
    #[track_caller]
    pub fn opt_float(&self, i: usize, name: &str) -> Option<f64> {
        let a = self.opt(i, name)?;
        match a {
            Arg::Tensor(t) => Some(t.item::<f64>()),
            _ => Some(a.scalar().map(|s| s.as_f64()).unwrap_or_else(|| {
                panic!("argument {i} ({name}): expected a number, got {}", a.kind())
            })),
        }
    }

    /// A real number with a default.
    #[track_caller]
    pub fn float(&self, i: usize, name: &str, default: f64) -> f64 {
        self.opt_float(i, name).unwrap_or(default)
    }

    /// A number, keeping its kind, or `None`.
    #[track_caller]
    pub fn scalar(&self, i: usize, name: &str) -> Option<Scalar> {
        let a = self.opt(i, name)?;
        match a {
            Arg::Tensor(t) if t.dtype().is_float() => Some(Scalar::Float(t.item::<f64>())),
            Arg::Tensor(t) => Some(Scalar::Int(t.item::<i64>()).cast(t.dtype())),
            _ => Some(a.scalar().unwrap_or_else(|| {
                panic!("argument {i} ({name}): expected a number, got {}", a.kind())
            })),
        }
    }

    /// A truth value with a default.
    #[track_caller]
    pub fn bool(&self, i: usize, name: &str, default: bool) -> bool {
        match self.opt(i, name) {
            None => default,
            Some(Arg::Bool(b)) => *b,
            Some(Arg::Int(n)) => *n != 0,
            Some(a) => panic!("argument {i} ({name}): expected a bool, got {}", a.kind()),
        }
    }

    /// A string, or `None`.
    pub fn opt_str(&self, i: usize, name: &str) -> Option<&str> {
        match self.opt(i, name)? {
            Arg::Str(s) => Some(s),
            a => panic!("argument {i} ({name}): expected a string, got {}", a.kind()),
        }
    }

    /// A string with a default.
    pub fn str<'a>(&'a self, i: usize, name: &str, default: &'a str) -> &'a str {
        self.opt_str(i, name).unwrap_or(default)
    }

    /// A dtype, or `None`.
    pub fn dtype(&self, i: usize, name: &str) -> Option<DType> {
        match self.opt(i, name)? {
            Arg::DType(d) => Some(*d),
            a => panic!("argument {i} ({name}): expected a dtype, got {}", a.kind()),
        }
    }

    /// An integer or a list of integers, as a list; `None` when absent.
    #[track_caller]
    pub fn opt_ints(&self, i: usize, name: &str) -> Option<Vec<isize>> {
        let a = self.opt(i, name)?;
        Some(a.ints().unwrap_or_else(|| {
            panic!("argument {i} ({name}): expected integers, got {}", a.kind())
        }))
    }

    /// Required integers.
    #[track_caller]
    pub fn ints(&self, i: usize, name: &str) -> Vec<isize> {
        self.opt_ints(i, name).unwrap_or_else(|| panic!("argument {i} ({name}) is missing"))
    }

    /// Sizes given as one list or as several integers (`x.expand(2, 3)`, `torch.zeros(2, 3)`).
    #[track_caller]
    pub fn sizes(&self, i: usize, name: &str) -> Vec<isize> {
        match self.opt(i, name) {
            Some(Arg::Int(_)) => (i..self.pos.len())
                .map_while(|k| match &self.pos[k] {
                    Arg::Int(n) => {
                        self.used.borrow_mut().0.insert(k);
                        Some(*n as isize)
                    }
                    _ => None,
                })
                .collect(),
            None => Vec::new(),
            Some(_) => self.ints(i, name),
        }
    }

    /// Arguments that no getter asked for.
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        let positions = (0..self.pos.len())
            .filter(|i| !used.0.contains(i) && !matches!(self.pos[*i], Arg::None))
            .map(|i| format!("#{i}"));
        let names = self
            .kw
            .iter()
            .filter(|(k, v)| {
                !used.1.contains(*k) && !IGNORED.contains(&k.as_str()) && !matches!(v, Arg::None)
            })
            .map(|(k, _)| k.clone());
        positions.chain(names).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn binding() {
        let args = Args::decode(
            &json!([3, [1, -2], null]),
            &json!({"p": {"float": "inf"}, "keepdim": true, "eps": 1e-5}),
            &mut |_| unreachable!(),
        );
        assert_eq!(args.int(0, "x", 0), 3);
        assert_eq!(args.ints(1, "dim"), vec![1, -2]);
        assert_eq!(args.opt_int(2, "k"), None);
        assert_eq!(args.float(3, "p", 2.0), f64::INFINITY);
        assert!(args.bool(9, "keepdim", false) && args.bool(9, "absent", true));
        assert_eq!(args.unused(), vec!["eps"]);
    }

    #[test]
    fn integers_and_floats_are_told_apart() {
        let args = Args::decode(&json!([2, 2.0]), &json!({}), &mut |_| unreachable!());
        assert!(matches!(args.pos[0], Arg::Int(2)) && matches!(args.pos[1], Arg::Float(_)));
    }
}
