//! The few protobuf messages of ONNX that an export needs, as bytes. Field numbers are those of `onnx.proto3`.

use hardpan_engine::{DType, HostArray};

/// A message under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message(pub Vec<u8>);

impl Message {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    /// A whole number.
    pub fn int(mut self, field: u64, value: i64) -> Message {
        self.varint(field << 3);
        self.varint(value as u64);
        self
    }

    /// Bytes, text, or another message.
    pub fn bytes(mut self, field: u64, value: &[u8]) -> Message {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub fn text(self, field: u64, value: &str) -> Message {
        self.bytes(field, value.as_bytes())
    }

    pub fn message(self, field: u64, value: &Message) -> Message {
        self.bytes(field, &value.0)
    }

    pub fn messages<'a>(self, field: u64, all: impl IntoIterator<Item = &'a Message>) -> Message {
        all.into_iter().fold(self, |m, one| m.message(field, one))
    }
}

/// An attribute of a node.
#[derive(Clone, Debug)]
pub(crate) enum Attribute {
    Int(&'static str, i64),
    Ints(&'static str, Vec<i64>),
}

impl Attribute {
    fn message(&self) -> Message {
        match self {
            Attribute::Int(name, value) => {
                Message::default().text(1, name).int(3, *value).int(20, 2)
            }
            Attribute::Ints(name, values) => {
                let m = Message::default().text(1, name);
                values.iter().fold(m, |m, v| m.int(8, *v)).int(20, 7)
            }
        }
    }
}

/// `NodeProto`.
pub(crate) fn node(op: &str, inputs: &[&str], output: &str, attributes: &[Attribute]) -> Message {
    let m = inputs.iter().fold(Message::default(), |m, i| m.text(1, i));
    let m = m.text(2, output).text(3, output).text(4, op);
    attributes.iter().fold(m, |m, a| m.message(5, &a.message()))
}

/// `TensorProto`.
pub(crate) fn tensor(name: &str, array: &HostArray) -> Message {
    let m = array.shape().iter().fold(Message::default(), |m, n| m.int(1, *n as i64));
    m.int(2, data_type(array.dtype())).text(8, name).bytes(9, array.bytes())
}

/// A dimension of a value: a number, or `factor` times the batch size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dim {
    Fixed(usize),
    Batch(usize),
}

/// `ValueInfoProto` of a tensor.
pub(crate) fn value_info(name: &str, dtype: DType, shape: &[Dim]) -> Message {
    let dims: Vec<Message> = shape
        .iter()
        .map(|d| match d {
            Dim::Fixed(n) => Message::default().int(1, *n as i64),
            Dim::Batch(1) => Message::default().text(2, "batch"),
            Dim::Batch(k) => Message::default().text(2, &format!("{k} batch")),
        })
        .collect();
    let shape = Message::default().messages(1, &dims);
    let of_tensor = Message::default().int(1, data_type(dtype)).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &of_tensor))
}

/// `TensorProto.DataType`.
pub(crate) fn data_type(dtype: DType) -> i64 {
    match dtype {
        DType::F32 => 1,
        DType::U8 => 2,
        DType::I8 => 3,
        DType::I16 => 5,
        DType::I32 => 6,
        DType::I64 => 7,
        DType::Bool => 9,
        DType::F16 => 10,
        DType::F64 => 11,
        DType::U32 => 12,
        DType::BF16 => 16,
    }
}
