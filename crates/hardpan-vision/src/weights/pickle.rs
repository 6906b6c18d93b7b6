//! A reader of Python's pickle format that builds data and nothing else.
//!
//! A pickle is a program for a small stack machine that may call any Python function. Here the only functions are those in
//! [`Global`], and "calling" one makes a [`Value`]; asking for any other is an error. Values live in one list and refer to each other by
//! index, so cycles and deep nesting cost nothing, and each instruction adds at most one value: memory is bounded by the file.

use super::error::Problem;
use super::global::Global;

/// Index of a value in [`Pickle::values`].
pub(super) type Id = usize;

/// What a pickle can build.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    /// Contents are of no use for weights.
    Bytes,
    /// A list, tuple or set.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// What a persistent id stands for: the storage described by the tuple with this index.
    Persistent(Id),
    /// A function applied to its arguments.
    Call(Global, Vec<Id>),
}

/// A finished pickle.
pub(super) struct Pickle {
    pub values: Vec<Value>,
    pub root: Id,
    /// Bytes read.
    pub length: usize,
}

impl Pickle {
    /// The elements of a list or tuple.
    pub fn list(&self, id: Id) -> Option<&[Id]> {
        match &self.values[id] {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub fn int(&self, id: Id) -> Option<i64> {
        match self.values[id] {
            Value::Int(n) => Some(n),
            Value::Bool(b) => Some(i64::from(b)),
            _ => None,
        }
    }

    pub fn text(&self, id: Id) -> Option<&str> {
        match &self.values[id] {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// A list of numbers from 0 on.
    pub fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        self.list(id)?.iter().map(|&i| usize::try_from(self.int(i)?).ok()).collect()
    }

    /// The entries of a dictionary: of Python's own kinds, or of an object with settings.
    pub fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match &self.values[id] {
            Value::Dict(items) => Some(items),
            _ => None,
        }
    }
}

/// Where the values since the last mark begin.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: std::collections::HashMap<u64, Id>,
}

/// Reads the pickle at the start of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle, Problem> {
    let mut m = Machine {
        bytes,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Default::default(),
    };
    loop {
        let op = m.byte()?;
        if op == b'.' {
            let root = m.pop()?;
            return Ok(Pickle { values: m.values, root, length: m.at });
        }
        m.run(op)?;
    }
}

fn damaged<T>(problem: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Damaged(format!("pickle: {}", problem.into())))
}

impl<'a> Machine<'a> {
    fn byte(&mut self) -> Result<u8, Problem> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Problem> {
        match self.bytes.get(self.at..).and_then(|rest| rest.get(..n)) {
            Some(part) => {
                self.at += n;
                Ok(part)
            }
            None => damaged(format!("it ends inside an instruction at byte {}", self.at)),
        }
    }

    /// An unsigned little-endian number of `n` bytes.
    fn number(&mut self, n: usize) -> Result<u64, Problem> {
        Ok(self.take(n)?.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b)))
    }

    fn counted(&mut self, n: usize) -> Result<&'a [u8], Problem> {
        let length = self.number(n)?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => damaged(format!("a length of {length} bytes")),
        }
    }

    fn line(&mut self) -> Result<&'a str, Problem> {
        let rest = &self.bytes[self.at..];
        let Some(n) = rest.iter().position(|b| *b == b'\n') else {
            return damaged("it ends inside a line");
        };
        self.at += n + 1;
        std::str::from_utf8(&rest[..n]).or_else(|_| damaged("a line that is not text"))
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Id, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len() > floor {
            true => Ok(self.stack.pop().unwrap_or(0)),
            false => damaged("an instruction with too little on the stack"),
        }
    }

    /// What was pushed since the last mark.
    fn since_mark(&mut self) -> Result<Vec<Id>, Problem> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark.min(self.stack.len()))),
            None => damaged("an instruction that needs a mark"),
        }
    }

    fn top(&self) -> Result<Id, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.get(floor..).and_then(|s| s.last()) {
            Some(id) => Ok(*id),
            None => damaged("an instruction with too little on the stack"),
        }
    }

    fn put(&mut self, key: u64) -> Result<(), Problem> {
        let id = self.top()?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn get(&mut self, key: u64) -> Result<(), Problem> {
        match self.memo.get(&key) {
            Some(id) => {
                self.stack.push(*id);
                Ok(())
            }
            None => damaged(format!("it refers to memo {key}, which was never set")),
        }
    }

    fn string(&mut self, bytes: &[u8]) {
        self.push(Value::Str(String::from_utf8_lossy(bytes).into_owned()));
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Problem> {
        let global = Global::find(module, name);
        let global = global.ok_or_else(|| Problem::Forbidden(module.into(), name.into()))?;
        self.push(Value::Global(global));
        Ok(())
    }

    /// A decimal number on a line; `L` may follow.
    fn decimal(&mut self) -> Result<(), Problem> {
        let line = self.line()?;
        let value = match line {
            "00" => Value::Bool(false),
            "01" => Value::Bool(true),
            _ => match line.strip_suffix('L').unwrap_or(line).parse() {
                Ok(n) => Value::Int(n),
                Err(_) => return damaged(format!("a number {line:?}")),
            },
        };
        self.push(value);
        Ok(())
    }

    /// A signed little-endian number of any length.
    fn long(&mut self, bytes: &[u8]) {
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let fill = if negative { 0xff } else { 0 };
        let fits = bytes.iter().skip(8).all(|b| *b == fill);
        let mut all = [fill; 8];
        all.iter_mut().zip(bytes).for_each(|(a, b)| *a = *b);
        // Larger ones (such as the magic number of the file) are never sizes.
        self.push(if fits { Value::Int(i64::from_le_bytes(all)) } else { Value::Bytes });
    }

    fn extend(&mut self, list: Id, items: Vec<Id>) -> Result<(), Problem> {
        match &mut self.values[list] {
            Value::List(l) => l.extend(items),
            // The list of a subclass: its contents are of no use here.
            Value::Call(..) => {}
            _ => return damaged("something is appended to what is no list"),
        }
        Ok(())
    }

    fn set_items(&mut self, dict: Id, items: &[Id]) -> Result<(), Problem> {
        if !items.len().is_multiple_of(2) {
            return damaged("a key without a value");
        }
        let pairs = items.chunks_exact(2).map(|p| (p[0], p[1]));
        match &mut self.values[dict] {
            Value::Dict(d) => d.extend(pairs),
            Value::Call(..) => {}
            _ => return damaged("a key is set in what is no dictionary"),
        }
        Ok(())
    }

    fn call(&mut self) -> Result<(), Problem> {
        let (args, function) = (self.pop()?, self.pop()?);
        let Value::Global(global) = self.values[function] else {
            return damaged("a call of what is no function");
        };
        let args = match &self.values[args] {
            Value::List(items) => items.clone(),
            _ => return damaged("a call whose arguments are no tuple"),
        };
        let value = match global {
            Global::Dict => {
                // With a list of pairs, or empty.
                let mut entries = Vec::new();
                for pair in args.first().and_then(|a| self.values[*a].as_list()).unwrap_or(&[]) {
                    if let Some([k, v]) = self.values[*pair].as_list() {
                        entries.push((*k, *v));
                    }
                }
                Value::Dict(entries)
            }
            Global::Tuple => {
                let items = args.first().and_then(|a| self.values[*a].as_list()).unwrap_or(&[]);
                Value::List(items.to_vec())
            }
            // A parameter is its tensor.
            Global::Parameter => {
                let Some(tensor) = args.first() else { return damaged("a parameter of nothing") };
                self.stack.push(*tensor);
                return Ok(());
            }
            _ => Value::Call(global, args),
        };
        self.push(value);
        Ok(())
    }

    /// Attributes are set: of use only where an object is a bag of settings.
    fn build(&mut self) -> Result<(), Problem> {
        let state = self.pop()?;
        let object = self.top()?;
        if let (Value::Call(Global::Settings, _), Value::Dict(d)) =
            (&self.values[object], &self.values[state])
        {
            self.values[object] = Value::Dict(d.clone());
        }
        Ok(())
    }

    fn run(&mut self, op: u8) -> Result<(), Problem> {
        match op {
            0x80 => {
                let version = self.byte()?;
                if version > 5 {
                    return Err(Problem::Unsupported(format!("pickle protocol {version}")));
                }
            }
            // Frames are a hint for readers.
            0x95 => _ = self.take(8)?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => match self.pop() {
                Ok(_) => {}
                Err(e) => _ = self.marks.pop().ok_or(e)?,
            },
            b'1' => _ = self.since_mark()?,
            b'2' => {
                let id = self.top()?;
                self.stack.push(id);
            }
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'I' | b'L' => self.decimal()?,
            b'J' => {
                let n = self.number(4)? as u32 as i32;
                self.push(Value::Int(n.into()));
            }
            b'K' => {
                let n = self.number(1)?;
                self.push(Value::Int(n as i64));
            }
            b'M' => {
                let n = self.number(2)?;
                self.push(Value::Int(n as i64));
            }
            0x8a => {
                let bytes = self.counted(1)?;
                self.long(bytes);
            }
            0x8b => {
                let bytes = self.counted(4)?;
                self.long(bytes);
            }
            b'F' => match self.line()?.parse() {
                Ok(x) => self.push(Value::Float(x)),
                Err(_) => return damaged("a number that is none"),
            },
            b'G' => {
                let bits = self.number(8)?.swap_bytes();
                self.push(Value::Float(f64::from_bits(bits)));
            }
            b'S' => {
                let line = self.line()?;
                let quoted =
                    line.strip_prefix(['\'', '"']).and_then(|s| s.strip_suffix(['\'', '"']));
                match quoted {
                    Some(s) => self.string(s.as_bytes()),
                    None => return damaged("a string without quotes"),
                }
            }
            b'V' => {
                let line = self.line()?;
                self.string(line.as_bytes());
            }
            b'U' | 0x8c => {
                let bytes = self.counted(1)?;
                self.string(bytes);
            }
            b'T' | b'X' => {
                let bytes = self.counted(4)?;
                self.string(bytes);
            }
            0x8d => {
                let bytes = self.counted(8)?;
                self.string(bytes);
            }
            b'C' => {
                self.counted(1)?;
                self.push(Value::Bytes);
            }
            b'B' => {
                self.counted(4)?;
                self.push(Value::Bytes);
            }
            0x8e | 0x96 => {
                self.counted(8)?;
                self.push(Value::Bytes);
            }
            b']' | b')' | 0x8f => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b'l' | b't' | 0x91 => {
                let items = self.since_mark()?;
                self.push(Value::List(items));
            }
            0x85..=0x87 => {
                let n = usize::from(op - 0x84);
                let mut items = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
                items.reverse();
                self.push(Value::List(items));
            }
            b'd' => {
                let items = self.since_mark()?;
                self.push(Value::Dict(Vec::new()));
                let dict = self.top()?;
                self.set_items(dict, &items)?;
            }
            b'a' => {
                let item = self.pop()?;
                let list = self.top()?;
                self.extend(list, vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.since_mark()?;
                let list = self.top()?;
                self.extend(list, items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                let dict = self.top()?;
                self.set_items(dict, &[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                let dict = self.top()?;
                self.set_items(dict, &items)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Str(name), Value::Str(module)) =
                    (&self.values[name], &self.values[module])
                else {
                    return damaged("a function whose name is no text");
                };
                let (name, module) = (name.clone(), module.clone());
                self.global(&module, &name)?;
            }
            b'R' | 0x81 => self.call()?,
            b'b' => self.build()?,
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            b'p' => {
                let Ok(key) = self.line()?.parse() else { return damaged("a memo's number") };
                self.put(key)?;
            }
            b'q' => {
                let key = self.number(1)?;
                self.put(key)?;
            }
            b'r' => {
                let key = self.number(4)?;
                self.put(key)?;
            }
            0x94 => {
                let key = self.memo.len() as u64;
                self.put(key)?;
            }
            b'g' => {
                let Ok(key) = self.line()?.parse() else { return damaged("a memo's number") };
                self.get(key)?;
            }
            b'h' => {
                let key = self.number(1)?;
                self.get(key)?;
            }
            b'j' => {
                let key = self.number(4)?;
                self.get(key)?;
            }
            _ => {
                return damaged(format!(
                    "an unknown instruction 0x{op:02x} at byte {}",
                    self.at - 1
                ));
            }
        }
        Ok(())
    }
}

impl Value {
    fn as_list(&self) -> Option<&[Id]> {
        match self {
            Value::List(items) => Some(items),
            _ => None,
        }
    }
}
