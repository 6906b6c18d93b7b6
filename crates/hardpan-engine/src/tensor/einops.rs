//! Shapes in words: [`Tensor::rearrange`], [`Tensor::reduce`] and [`Tensor::repeat_axes`] with einops patterns.
//!
//! A pattern names the axes of the input on the left of `->` and of the result on the right. Parentheses join axes into one
//! dimension (on the left: split it), `1` is a dimension of size 1, `...` stands for any dimensions. All three functions become one
//! reshape, one permutation, perhaps one reduction, and one reshape.
//!
//! ```
//! use hardpan_engine::{Fold, Tensor};
//! let images = Tensor::zeros([10, 3, 32, 48]);
//! // Patches of 16 x 16, flattened, as a vision transformer reads them:
//! let patches = images.rearrange("b c (h p) (w q) -> b (h w) (p q c)", &[("p", 16), ("q", 16)]);
//! assert_eq!(patches.shape(), &[10, 6, 768]);
//! // Average pooling by 2:
//! let small = images.reduce("b c (h 2) (w 2) -> b c h w", Fold::Mean, &[]);
//! assert_eq!(small.shape(), &[10, 3, 16, 24]);
//! // Grey to colour:
//! let grey = Tensor::zeros([32, 48]);
//! assert_eq!(grey.repeat_axes("h w -> c h w", &[("c", 3)]).shape(), &[3, 32, 48]);
//! ```
//!
//! Source: Rogozhnikov, "Einops: clear and reliable tensor manipulations with Einstein-like notation" (ICLR 2022).

use crate::node::Tensor;
use crate::op::ReduceOp;
use crate::shape::Dims;
use std::panic::Location;

/// How [`Tensor::reduce`] folds the axes that are not in the result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fold {
    /// The sum.
    Sum,
    /// The mean; integers become f32.
    Mean,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// The product.
    Prod,
}

/// An axis: a name, or a number without one (its index keeps several apart).
#[derive(Clone, PartialEq, Eq, Debug)]
enum Axis {
    Name(String),
    Number(usize, usize),
    Dots(usize),
}

/// One dimension of a side: the axes joined in it.
type Group = Vec<Axis>;

#[derive(Debug)]
struct Side {
    /// Dimensions; the ellipsis is a group of its own, or a member of one.
    groups: Vec<Group>,
}

/// What is wrong with a pattern or a shape, in full sentences for the user.
struct Trouble<'a> {
    op: &'a str,
    pattern: &'a str,
    shape: &'a [usize],
}

impl Trouble<'_> {
    #[track_caller]
    fn say(&self, what: impl std::fmt::Display) -> ! {
        panic!("{} {:?} on shape {:?}: {what}", self.op, self.pattern, self.shape)
    }
}

#[track_caller]
fn parse(trouble: &Trouble, text: &str, numbers: &mut usize) -> Side {
    let mut groups: Vec<Group> = Vec::new();
    let mut open: Option<Group> = None;
    let mut rest = text;
    let mut dots = 0;
    while let Some(c) = rest.chars().next() {
        let mut found: Option<Axis> = None;
        if let Some(after) = rest.strip_prefix("...").or_else(|| rest.strip_prefix('…')) {
            dots += 1;
            if dots > 1 {
                trouble.say(format!("two ellipses on one side, in {:?}", text.trim()));
            }
            // How many dimensions it stands for is known once the shape is seen; until then 1 says "in parentheses".
            found = Some(Axis::Dots(usize::from(open.is_some())));
            rest = after;
        } else if c == '(' {
            if open.is_some() {
                trouble.say("parentheses inside parentheses; one pair joins any number of axes");
            }
            open = Some(Vec::new());
            rest = &rest[1..];
        } else if c == ')' {
            match open.take() {
                Some(g) => groups.push(g),
                None => trouble.say("')' without '(' before it"),
            }
            rest = &rest[1..];
        } else if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
        } else if c.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let Ok(n) = rest[..end].parse::<usize>() else {
                trouble.say(format!("{} is too large for a size", &rest[..end]))
            };
            if n == 0 {
                trouble.say("an axis of size 0 is not allowed in a pattern");
            }
            *numbers += 1;
            found = Some(Axis::Number(n, *numbers));
            rest = &rest[end..];
        } else if c.is_alphabetic() || c == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            found = Some(Axis::Name(rest[..end].to_string()));
            rest = &rest[end..];
        } else {
            trouble.say(format!(
                "{c:?} is not part of a pattern; axes are words, separated by spaces"
            ));
        }
        let Some(axis) = found else { continue };
        if let Axis::Name(_) = axis
            && groups.iter().flatten().chain(open.iter().flatten()).any(|a| *a == axis)
        {
            trouble.say(format!("axis {} appears twice in {:?}", show(&axis), text.trim()));
        }
        match (&mut open, axis) {
            (Some(_), Axis::Number(1, _)) => {}
            (Some(g), a) => g.push(a),
            // A lone 1 is a dimension without axes.
            (None, Axis::Number(1, _)) => groups.push(Vec::new()),
            (None, a) => groups.push(vec![a]),
        }
    }
    if open.is_some() {
        trouble.say("'(' without ')' after it");
    }
    Side { groups }
}

fn show(axis: &Axis) -> String {
    match axis {
        Axis::Name(n) => format!("'{n}'"),
        Axis::Number(n, _) => n.to_string(),
        Axis::Dots(_) => "...".into(),
    }
}

/// The ellipsis replaced by `count` axes.
fn open_dots(side: &mut Side, count: usize) {
    let mut out: Vec<Group> = Vec::new();
    for g in side.groups.drain(..) {
        let hidden = (0..count).map(Axis::Dots);
        if g.len() == 1 && g[0] == Axis::Dots(0) {
            out.extend(hidden.map(|a| vec![a]));
            continue;
        }
        let mut group = Vec::new();
        for a in g {
            if let Axis::Dots(_) = a {
                group.extend(hidden.clone());
            } else {
                group.push(a);
            }
        }
        out.push(group);
    }
    side.groups = out;
}

/// A pattern fitted to a shape.
struct Fitted {
    /// Every axis of the left side with its size, in order.
    left: Vec<(Axis, usize)>,
    /// Axes of each dimension of the result.
    right: Vec<Group>,
    /// Sizes of axes that are only on the right.
    new: Vec<(Axis, usize)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Rearrange,
    Reduce,
    Repeat,
}

#[track_caller]
fn fit(trouble: &Trouble, kind: Kind, lengths: &[(&str, usize)]) -> Fitted {
    let Some((left, right)) = trouble.pattern.split_once("->") else {
        trouble.say("there is no '->' between the input's axes and the result's")
    };
    if right.contains("->") {
        trouble.say("there is more than one '->'");
    }
    let mut numbers = 0;
    let mut left_side = parse(trouble, left, &mut numbers);
    let mut right_side = parse(trouble, right, &mut numbers);
    let is_dots = |a: &Axis| matches!(a, Axis::Dots(_));
    let has_dots = |s: &Side| s.groups.iter().flatten().any(is_dots);
    if left_side.groups.iter().flatten().any(|a| *a == Axis::Dots(1)) {
        trouble
            .say("an ellipsis inside parentheses on the left; it can only be joined on the right");
    }
    if !has_dots(&left_side) && has_dots(&right_side) {
        trouble.say("an ellipsis on the right but none on the left");
    }
    if has_dots(&left_side) && !has_dots(&right_side) && kind != Kind::Reduce {
        trouble.say("an ellipsis on the left but none on the right");
    }
    let shape = trouble.shape;
    let named = left_side.groups.len() - usize::from(has_dots(&left_side));
    let hidden = match shape.len().checked_sub(named) {
        Some(h) if has_dots(&left_side) || h == 0 => h,
        _ => trouble.say(format!(
            "the left side {:?} has {named} dimensions{}, the tensor has {}",
            left.trim(),
            if has_dots(&left_side) { " beside the ellipsis" } else { "" },
            shape.len()
        )),
    };
    open_dots(&mut left_side, hidden);
    open_dots(&mut right_side, hidden);
    let given = |a: &Axis| -> Option<usize> {
        match a {
            Axis::Name(n) => lengths.iter().find(|l| l.0 == n).map(|l| l.1),
            Axis::Number(n, _) => Some(*n),
            Axis::Dots(_) => None,
        }
    };
    for (i, (name, _)) in lengths.iter().enumerate() {
        let axis = Axis::Name((*name).to_string());
        if !left_side.groups.iter().chain(&right_side.groups).flatten().any(|a| *a == axis) {
            trouble.say(format!("a length is given for '{name}', which is not in the pattern"));
        }
        if lengths[..i].iter().any(|l| l.0 == *name) {
            trouble.say(format!("two lengths are given for '{name}'"));
        }
    }
    let mut sizes: Vec<(Axis, usize)> = Vec::new();
    for (d, (group, size)) in left_side.groups.iter().zip(shape).enumerate() {
        let known: Vec<Option<usize>> = group.iter().map(given).collect();
        let product: usize = known.iter().flatten().product();
        let free: Vec<&Axis> =
            group.iter().zip(&known).filter(|(_, k)| k.is_none()).map(|(a, _)| a).collect();
        let text = match group.as_slice() {
            [] => "1".to_string(),
            [one] => show(one),
            several => {
                format!(
                    "({})",
                    several.iter().map(show).collect::<Vec<_>>().join(" ").replace('\'', "")
                )
            }
        };
        let rest = match free.as_slice() {
            [] if product == *size => 1,
            [] if group.is_empty() => {
                trouble.say(format!("dimension {d} is written as 1 but has size {size}"))
            }
            [] => trouble.say(format!(
                "dimension {d} has size {size}, but {text} is given as {}{product}",
                if group.len() > 1 {
                    let parts: Vec<String> =
                        known.iter().map(|k| k.unwrap_or(1).to_string()).collect();
                    format!("{} = ", parts.join(" x "))
                } else {
                    String::new()
                }
            )),
            [_] if product > 0 && size.is_multiple_of(product) => size / product,
            [axis] => trouble.say(format!(
                "dimension {d} has size {size}, which does not divide by {product} to give {} of {text}",
                show(axis)
            )),
            several => {
                let names: Vec<String> = several.iter().map(|a| show(a)).collect();
                trouble.say(format!(
                    "dimension {d} of size {size} cannot be split into {text} when {} are unknown; give all but one in the list of \
                     lengths, such as &[({:?}, 2)]",
                    names.join(" and "),
                    names[0].trim_matches('\'')
                ))
            }
        };
        for (a, k) in group.iter().zip(known) {
            sizes.push((a.clone(), k.unwrap_or(rest)));
        }
    }
    let on_left = |a: &Axis| sizes.iter().any(|s| s.0 == *a);
    let on_right = |a: &Axis| right_side.groups.iter().flatten().any(|b| b == a);
    let mut new = Vec::new();
    for a in right_side.groups.iter().flatten().filter(|a| !on_left(a)) {
        if kind != Kind::Repeat {
            let hint = match (kind, a) {
                (_, Axis::Number(..)) => "; numbers on the right are for repeat_axes".to_string(),
                _ => format!("; the left has {}", list(&sizes)),
            };
            trouble.say(format!("axis {} of the result is not on the left{hint}", show(a)));
        }
        match given(a) {
            Some(n) => new.push((a.clone(), n)),
            None => trouble.say(format!(
                "axis {} is new on the right and needs a length: &[({}, 2)]",
                show(a),
                show(a).replace('\'', "\"")
            )),
        }
    }
    if kind != Kind::Reduce
        && let Some((a, n)) = sizes.iter().find(|(a, _)| !on_right(a))
    {
        trouble.say(format!(
            "axis {} (size {n}) is missing on the right; to fold it away use reduce",
            show(a)
        ));
    }
    Fitted { left: sizes, right: right_side.groups, new }
}

fn list(sizes: &[(Axis, usize)]) -> String {
    let all: Vec<String> = sizes.iter().map(|(a, n)| format!("{} = {n}", show(a))).collect();
    if all.is_empty() { "no axes".into() } else { all.join(", ") }
}

impl Tensor {
    #[track_caller]
    fn einops(
        &self,
        op: &str,
        kind: Kind,
        pattern: &str,
        how: Option<Fold>,
        lengths: &[(&str, usize)],
    ) -> Tensor {
        let at = Location::caller();
        let fitted = fit(&Trouble { op, pattern, shape: self.shape() }, kind, lengths);
        let order: Vec<&Axis> = fitted.right.iter().flatten().collect();
        let single: Dims = fitted.left.iter().map(|s| s.1).collect();
        let mut x = self.prim_reshape(&single, at);
        let mut axes: Vec<Axis> = fitted.left.iter().map(|s| s.0.clone()).collect();
        let folded: Dims = (0..axes.len()).filter(|d| !order.contains(&&axes[*d])).collect();
        if let Some(how) = how
            && (!folded.is_empty() || how == Fold::Mean)
        {
            let fold = |t: &Tensor, op| t.reduce_at(op, &folded, false, at);
            let nonempty = || {
                assert!(
                    folded.iter().all(|d| x.shape()[*d] > 0),
                    "{op} {pattern:?} on shape {:?}: there are no elements to fold",
                    self.shape()
                );
            };
            x = match how {
                Fold::Sum => x.sum_at(&folded, false, at),
                Fold::Mean => x.mean_at(&folded, false, at),
                Fold::Prod => fold(&x, ReduceOp::Prod),
                Fold::Max => {
                    nonempty();
                    fold(&x, ReduceOp::Max)
                }
                Fold::Min => {
                    nonempty();
                    fold(&x, ReduceOp::Min)
                }
            };
            axes.retain(|a| order.contains(&a));
        }
        // Axes of the result in order: those that exist permuted, new ones of size 1 between them, then stretched.
        let size = |a: &Axis| {
            let all = fitted.left.iter().chain(&fitted.new);
            all.clone().find(|s| s.0 == *a).map_or(1, |s| s.1)
        };
        let permutation: Dims =
            order.iter().filter_map(|a| axes.iter().position(|b| b == *a)).collect();
        let thin: Dims = order.iter().map(|a| if axes.contains(a) { size(a) } else { 1 }).collect();
        let wide: Dims = order.iter().map(|a| size(a)).collect();
        let out: Dims = fitted.right.iter().map(|g| g.iter().map(&size).product()).collect();
        x.prim_permute(&permutation, at)
            .prim_reshape(&thin, at)
            .prim_expand(&wide, at)
            .prim_reshape(&out, at)
    }

    /// Axes moved, joined and split as the pattern says; see the [module's text](crate::tensor::einops). `lengths` gives the sizes
    /// that the shape leaves open. Counterpart: `einops.rearrange`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let x = Tensor::zeros([2, 10, 12]);
    /// let heads = x.rearrange("b t (h d) -> b h t d", &[("h", 4)]);
    /// assert_eq!(heads.shape(), &[2, 4, 10, 3]);
    /// ```
    ///
    /// # Panics
    /// When pattern, shape and lengths do not agree; the message says which axis or dimension and why.
    #[track_caller]
    pub fn rearrange(&self, pattern: &str, lengths: &[(&str, usize)]) -> Tensor {
        self.einops("rearrange", Kind::Rearrange, pattern, None, lengths)
    }

    /// As [`Tensor::rearrange`], with the axes that are missing on the right folded. Counterpart: `einops.reduce`.
    #[track_caller]
    pub fn reduce(&self, pattern: &str, how: Fold, lengths: &[(&str, usize)]) -> Tensor {
        self.einops("reduce", Kind::Reduce, pattern, Some(how), lengths)
    }

    /// As [`Tensor::rearrange`], with values repeated along the axes that are new on the right. Counterpart: `einops.repeat`
    /// ([`Tensor::repeat`] is PyTorch's).
    #[track_caller]
    pub fn repeat_axes(&self, pattern: &str, lengths: &[(&str, usize)]) -> Tensor {
        self.einops("repeat_axes", Kind::Repeat, pattern, None, lengths)
    }
}
