//! [`StateDict`]: the values of a model by name, and how they are put back.

use crate::{Buffer, Param};
use hardpan_engine::Tensor;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Named tensors in declaration order: what a model saves. Counterpart: the dictionary of `state_dict()`.
///
/// Values are handles, not copies: tensors never change, so a state dict taken before a training step keeps the
/// values of then.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::StateDict;
/// let mut state = StateDict::new();
/// state.insert("model.weight", Tensor::ones([2]));
/// let state = state.strip_prefix("model.");
/// assert_eq!(state.get("weight").unwrap().shape(), [2]);
/// ```
#[derive(Clone, Default)]
pub struct StateDict {
    entries: Vec<(String, Tensor)>,
    index: HashMap<String, usize>,
}

impl StateDict {
    /// An empty one.
    pub fn new() -> StateDict {
        StateDict::default()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.index.get(name).map(|&i| &self.entries[i].1)
    }

    /// Sets the tensor of this name: in place if there is one, at the end otherwise.
    pub fn insert(&mut self, name: impl Into<String>, value: Tensor) {
        let name = name.into();
        match self.index.get(&name) {
            Some(&i) => self.entries[i].1 = value,
            None => {
                self.index.insert(name.clone(), self.entries.len());
                self.entries.push((name, value));
            }
        }
    }

    /// The names in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(k, _)| k.as_str())
    }

    /// Names and tensors in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.entries.iter().map(|(k, t)| (k.as_str(), t))
    }

    /// Only the entries that `keep` says yes to.
    #[must_use]
    pub fn filter(self, mut keep: impl FnMut(&str, &Tensor) -> bool) -> StateDict {
        self.into_iter().filter(|(k, t)| keep(k, t)).collect()
    }

    /// With other names. Of entries that end up with the same name the last stays.
    #[must_use]
    pub fn rename(self, mut name: impl FnMut(&str) -> String) -> StateDict {
        self.into_iter().map(|(k, t)| (name(&k), t)).collect()
    }

    /// The entries whose name starts with `prefix`, without it: the part of one module, given `"encoder."`.
    #[must_use]
    pub fn strip_prefix(self, prefix: &str) -> StateDict {
        self.into_iter()
            .filter_map(|(k, t)| Some((k.strip_prefix(prefix)?.to_owned(), t)))
            .collect()
    }
}

impl FromIterator<(String, Tensor)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(iter: I) -> StateDict {
        let mut out = StateDict::new();
        iter.into_iter().for_each(|(k, t)| out.insert(k, t));
        out
    }
}

impl IntoIterator for StateDict {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<(String, Tensor)>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl fmt::Debug for StateDict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (k, t) in self.iter() {
            map.entry(&k, &format_args!("{} {:?}", t.dtype(), t.shape()));
        }
        map.finish()
    }
}

/// Names that did not meet their match in a loading that was not strict.
///
/// ```
/// use hardpan_nn::{Linear, Module, seq};
/// let (old, new) = (seq![Linear::new(4, 8)], seq![Linear::new(4, 8), Linear::new(8, 2)]);
/// let loaded = new.load_state_dict(&old.state_dict(), false).unwrap();
/// assert_eq!(loaded.missing, ["1.weight", "1.bias"]);
/// assert!(loaded.unexpected.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// In the model only: these kept their values.
    pub missing: Vec<String>,
    /// In the state dict only: these were not used.
    pub unexpected: Vec<String>,
}

/// A state dict that does not fit the model. Its message lists every difference.
///
/// ```
/// use hardpan_nn::{Linear, Module};
/// let wrong = Linear::new(4, 2).load_state_dict(&Linear::new(4, 3).state_dict(), true).unwrap_err();
/// assert_eq!(wrong.mismatched.len(), 2);
/// assert!(wrong.to_string().contains("weight: [2, 4] in the model, [3, 4] in the state dict"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct StateDictError {
    /// Names in the model only (empty if loading was not strict).
    pub missing: Vec<String>,
    /// Names in the state dict only (empty if loading was not strict).
    pub unexpected: Vec<String>,
    /// Names with the shape in the model and the shape in the state dict.
    pub mismatched: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl fmt::Display for StateDictError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the state dict does not fit the model")?;
        if !self.mismatched.is_empty() {
            write!(f, "\n  of another shape ({}):", self.mismatched.len())?;
            for (name, model, given) in &self.mismatched {
                write!(f, "\n    {name}: {model:?} in the model, {given:?} in the state dict")?;
            }
        }
        for (what, names) in
            [("in the model only", &self.missing), ("in the state dict only", &self.unexpected)]
        {
            if !names.is_empty() {
                write!(f, "\n  {what} ({}): {}", names.len(), names.join(", "))?;
            }
        }
        match self.common_prefix() {
            Some(prefix) => write!(f, "\n  try state.strip_prefix({prefix:?})"),
            None if self.mismatched.is_empty() => {
                write!(f, "\n  to load what fits and leave the rest, load with strict = false")
            }
            None => Ok(()),
        }
    }
}

impl StateDictError {
    /// A prefix such as `module.` whose removal would turn an unexpected name into a missing one.
    fn common_prefix(&self) -> Option<&str> {
        let (want, have) = (self.missing.first()?, self.unexpected.iter());
        let prefix =
            have.filter_map(|h| h.strip_suffix(want.as_str())).find(|p| p.ends_with('.'))?;
        self.unexpected.iter().all(|h| h.starts_with(prefix)).then_some(prefix)
    }
}

/// A place in a model that a state dict can fill.
pub(crate) struct Slot {
    name: String,
    cell: Cell,
}

enum Cell {
    Param(Param),
    Buffer(Buffer),
}

impl Slot {
    pub(crate) fn param(name: &str, p: &Param) -> Slot {
        Slot { name: name.to_owned(), cell: Cell::Param(p.clone()) }
    }

    pub(crate) fn buffer(name: &str, b: &Buffer) -> Slot {
        Slot { name: name.to_owned(), cell: Cell::Buffer(b.clone()) }
    }

    fn id(&self) -> u64 {
        match &self.cell {
            Cell::Param(p) => p.id(),
            Cell::Buffer(b) => b.id(),
        }
    }

    fn value(&self) -> Tensor {
        match &self.cell {
            Cell::Param(p) => p.value(),
            Cell::Buffer(b) => b.value(),
        }
    }

    fn set(&self, value: Tensor) {
        match &self.cell {
            Cell::Param(p) => p.set(value),
            Cell::Buffer(b) => b.set(value),
        }
    }
}

/// Checks everything, then sets everything.
pub(crate) fn load(
    slots: Vec<Slot>,
    state: &StateDict,
    strict: bool,
) -> Result<Loaded, StateDictError> {
    let names: HashSet<&str> = slots.iter().map(|s| s.name.as_str()).collect();
    // A shared parameter is provided for if any of its names is there.
    let provided: HashSet<u64> =
        slots.iter().filter(|s| state.get(&s.name).is_some()).map(Slot::id).collect();
    let missing: Vec<String> =
        slots.iter().filter(|s| !provided.contains(&s.id())).map(|s| s.name.clone()).collect();
    let unexpected: Vec<String> =
        state.keys().filter(|k| !names.contains(k)).map(str::to_owned).collect();

    let mut mismatched = Vec::new();
    let mut changes = Vec::new();
    for slot in &slots {
        let Some(new) = state.get(&slot.name) else { continue };
        let old = slot.value();
        if old.shape() == new.shape() {
            changes.push((slot, new.to_dtype(old.dtype())));
        } else {
            mismatched.push((slot.name.clone(), old.shape().to_vec(), new.shape().to_vec()));
        }
    }
    if !mismatched.is_empty() || (strict && !(missing.is_empty() && unexpected.is_empty())) {
        let (missing, unexpected) =
            if strict { (missing, unexpected) } else { (Vec::new(), Vec::new()) };
        return Err(StateDictError { missing, unexpected, mismatched });
    }
    changes.into_iter().for_each(|(slot, value)| slot.set(value));
    Ok(Loaded { missing, unexpected })
}
