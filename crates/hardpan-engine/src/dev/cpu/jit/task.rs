//! What the steps of a program compute, for those that generated code may take over.
use crate::dtype::{DType, Lane};
use crate::op::{BinaryOp, ReduceOp, UnaryOp};

/// What a step computes, where generated code may be able to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// Something that only the interpreter does.
    Other,
    /// A function of one operand.
    Unary(UnaryOp, Lane),
    /// A function of two operands of this lane.
    Binary(BinaryOp, Lane),
    /// `c ? a : b`
    Select,
    /// A value of lower extent, repeated.
    Expand,
    /// From one type to another.
    Cast(DType, DType),
    /// A fold of a full value.
    Fold(ReduceOp, Lane),
}

impl Task {
    /// True where generated code can do it. All operands have four bytes.
    pub fn is_known(self) -> bool {
        use BinaryOp as B;
        use UnaryOp as U;
        match self {
            Task::Other => false,
            Task::Unary(op, Lane::F32) => matches!(
                op,
                U::Neg
                    | U::Abs
                    | U::Sqrt
                    | U::Recip
                    | U::Floor
                    | U::Round
                    | U::Not
                    | U::Exp
                    | U::Log
                    | U::Tanh
                    | U::Erf
            ),
            Task::Unary(op, Lane::I32) => matches!(op, U::Neg | U::Abs | U::Not),
            Task::Binary(op, Lane::F32) => matches!(
                op,
                B::Add | B::Sub | B::Mul | B::Div | B::Max | B::Min | B::Lt | B::Le | B::Eq
            ),
            Task::Binary(op, Lane::I32) => matches!(
                op,
                B::Add
                    | B::Sub
                    | B::Mul
                    | B::Max
                    | B::Min
                    | B::Lt
                    | B::Le
                    | B::Eq
                    | B::And
                    | B::Or
                    | B::Xor
            ),
            Task::Select | Task::Expand => true,
            Task::Cast(from, to) => match to {
                DType::F32 => from.lane() == Lane::I32,
                DType::Bool => matches!(from.lane(), Lane::F32 | Lane::I32),
                DType::BF16 => from == DType::F32,
                _ => false,
            },
            Task::Fold(op, Lane::F32 | Lane::I32) => !op.is_arg(),
            _ => false,
        }
    }
}
