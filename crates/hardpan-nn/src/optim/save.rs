//! An optimizer's memory as named tensors, to continue a run.

use super::{Hyper, Optimizer, ParamState};
use crate::StateDict;
use hardpan_engine::Tensor;

/// A saved state that does not fit the optimizer.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Adam, Recipe};
/// use hardpan_nn::{Forward, Linear, Module};
/// let (small, large) = (Linear::new(2, 2), Linear::new(4, 4));
/// large.forward(&Tensor::ones([1, 4])).sum(..).backward();
/// let mut opt = Adam::new(0.1).build(&large);
/// opt.step();
/// let wrong = Adam::new(0.1).build(&small).load_state_dict(&opt.state_dict()).unwrap_err();
/// assert!(wrong.to_string().contains("it has shape [4, 4], the parameter [2, 2]"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptimizerStateError {
    /// A name that is none of this optimizer's.
    #[error("the optimizer state has an entry {name:?}: {problem}")]
    Entry {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl OptimizerStateError {
    /// Something is wrong with the entry of this name.
    pub(super) fn entry(name: &str, problem: &str) -> OptimizerStateError {
        OptimizerStateError::Entry { name: name.to_owned(), problem: problem.to_owned() }
    }
}

/// The entry, if it is one number.
pub(super) fn one_number<'a>(
    name: &str,
    value: &'a Tensor,
) -> Result<&'a Tensor, OptimizerStateError> {
    match value.numel() {
        1 => Ok(value),
        _ => Err(OptimizerStateError::entry(
            name,
            &format!("one number was expected, it has shape {:?}", value.shape()),
        )),
    }
}

impl Optimizer {
    /// Everything remembered, as tensors: `state.{i}.exp_avg` of parameter `i` (counted over all groups), its counter `state.{i}.step`,
    /// and the hyperparameters `group.{g}.lr`. Counterpart: `Optimizer.state_dict`.
    pub fn state_dict(&self) -> StateDict {
        let mut out = StateDict::new();
        out.insert("steps_taken", Tensor::scalar(self.taken as i64));
        for (g, group) in self.groups.iter().enumerate() {
            for (h, v) in group.hypers.iter() {
                out.insert(format!("group.{g}.{h}"), Tensor::scalar(v));
            }
            if let Some(lr) = group.initial_lr {
                out.insert(format!("group.{g}.initial_lr"), Tensor::scalar(lr));
            }
        }
        for (i, p) in self.params().enumerate() {
            let Some(state) = self.states.get(&p.id()) else { continue };
            out.insert(format!("state.{i}.step"), Tensor::scalar(state.steps() as i64));
            for (name, t) in state.tensors() {
                out.insert(format!("state.{i}.{name}"), t.clone());
            }
            for (name, v) in state.numbers() {
                out.insert(format!("state.{i}.number.{name}"), Tensor::scalar(v));
            }
        }
        out
    }

    /// Continues from a state that [`state_dict`](Optimizer::state_dict) gave for an optimizer with the same groups.
    /// All or nothing.
    ///
    /// # Errors
    /// An entry whose parameter, group or hyperparameter is not here, or whose shape cannot be.
    pub fn load_state_dict(&mut self, saved: &StateDict) -> Result<(), OptimizerStateError> {
        let params: Vec<_> = self.params().cloned().collect();
        let mut states: Vec<Option<ParamState>> = vec![None; params.len()];
        let mut groups = self.groups.clone();
        let mut taken = self.taken;
        for (name, value) in saved.iter() {
            let wrong = |problem: &str| OptimizerStateError::entry(name, problem);
            let number = || one_number(name, value).map(Tensor::item::<f64>);
            if name == "steps_taken" {
                taken = number()? as u64;
                continue;
            }
            let mut parts = name.splitn(3, '.');
            let (kind, index, key) = (parts.next(), parts.next(), parts.next());
            let (Some(index), Some(key)) = (index.and_then(|i| i.parse::<usize>().ok()), key)
            else {
                return Err(wrong("names are group.{i}.{name} and state.{i}.{name}"));
            };
            match kind {
                Some("group") => {
                    let have = groups.len();
                    let group = groups
                        .get_mut(index)
                        .ok_or_else(|| wrong(&format!("there are {have} groups")))?;
                    if key == "initial_lr" {
                        group.initial_lr = Some(number()?);
                        continue;
                    }
                    let hyper = Hyper::ALL.iter().find(|h| h.name() == key);
                    let hyper = hyper.ok_or_else(|| wrong("there is no such hyperparameter"))?;
                    group.hypers.set(*hyper, number()?);
                }
                Some("state") => {
                    let have = states.len();
                    let slot = states
                        .get_mut(index)
                        .ok_or_else(|| wrong(&format!("there are {have} parameters")))?
                        .get_or_insert_default();
                    if key == "step" {
                        slot.set_steps(number()? as u64);
                    } else if let Some(key) = key.strip_prefix("number.") {
                        slot.set_number(key.to_owned(), number()?);
                    } else {
                        let shape = params[index].shape();
                        let fits = hardpan_engine::shape::broadcast(value.shape(), &shape)
                            .is_some_and(|s| s.as_slice() == shape);
                        if !fits {
                            return Err(wrong(&format!(
                                "it has shape {:?}, the parameter {shape:?}",
                                value.shape()
                            )));
                        }
                        slot.set(key.to_owned(), value.clone());
                    }
                }
                _ => return Err(wrong("names are group.{i}.{name} and state.{i}.{name}")),
            }
        }
        self.taken = taken;
        self.groups = groups;
        self.states = params.iter().zip(states).filter_map(|(p, s)| Some((p.id(), s?))).collect();
        Ok(())
    }
}
