//! Hyperparameters of optimizers by name, so that schedules can reach them.

use std::fmt;

macro_rules! hypers {
    ($($(#[$doc:meta])* $v:ident = $text:literal),* $(,)?) => {
        /// The name of a hyperparameter. Each parameter group has its own values ([`Hypers`]).
        ///
        /// ```
        /// use hardpan_nn::optim::Hyper;
        /// assert_eq!((Hyper::Mom.name(), Hyper::Wd.to_string()), ("mom", "wd".to_owned()));
        /// ```
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[non_exhaustive]
        pub enum Hyper { $($(#[$doc])* $v),* }

        impl Hyper {
            /// Every one, in order.
            pub const ALL: &'static [Hyper] = &[$(Hyper::$v),*];

            /// The name in saved states and reports: `lr`, `mom`, ...
            pub const fn name(self) -> &'static str {
                match self { $(Hyper::$v => $text),* }
            }
        }
    };
}

hypers! {
    /// Learning rate.
    Lr = "lr",
    /// Momentum: of SGD and RMSprop, and the first beta of the Adam family.
    Mom = "mom",
    /// Decay of the average of squared gradients: the second beta of the Adam family, alpha of RMSprop, rho of Adadelta.
    SqrMom = "sqr_mom",
    /// What keeps a division from blowing up.
    Eps = "eps",
    /// Weight decay.
    Wd = "wd",
    /// How much less of a new gradient enters the momentum of SGD.
    Dampening = "dampening",
    /// Decay of the learning rate by the step (Adagrad).
    LrDecay = "lr_decay",
    /// Decay of the momentum schedule of NAdam.
    MomDecay = "momentum_decay",
    /// Decay term of ASGD.
    Lambda = "lambd",
    /// Power of the step-size schedule of ASGD.
    Alpha = "alpha",
    /// Step at which ASGD starts to average.
    T0 = "t0",
    /// Factor by which Rprop shrinks a step that went too far.
    EtaMinus = "eta_minus",
    /// Factor by which Rprop grows a step in the right direction.
    EtaPlus = "eta_plus",
    /// Smallest step of Rprop.
    StepMin = "step_min",
    /// Largest step of Rprop.
    StepMax = "step_max",
    /// Exponent of the decay of Adafactor's second moment.
    Beta2Decay = "beta2_decay",
    /// Lower bound of the parameter scale in Adafactor.
    Eps2 = "eps2",
    /// Largest size of an update in Adafactor.
    Clip = "d",
    /// First value of Adagrad's sum of squares.
    InitialAccumulator = "initial_accumulator_value",
    /// Share of the averaged gradient in QHAdam.
    Nu1 = "nu_1",
    /// Share of the averaged squared gradient in QHAdam.
    Nu2 = "nu_2",
    /// Trust coefficient of LARS.
    Trust = "trust_coeff",
}

impl fmt::Display for Hyper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Values of hyperparameters.
///
/// ```
/// use hardpan_nn::optim::{Hyper, Hypers};
/// let h = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::Mom, 0.9)]);
/// assert_eq!(h.get(Hyper::Mom), 0.9);
/// assert_eq!(h.find(Hyper::Eps), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hypers(Vec<(Hyper, f64)>);

impl Hypers {
    /// These values.
    pub fn new(values: &[(Hyper, f64)]) -> Hypers {
        let mut out = Hypers::default();
        for (h, v) in values {
            out.set(*h, *v);
        }
        out
    }

    /// The value, if there is one.
    pub fn find(&self, hyper: Hyper) -> Option<f64> {
        self.0.iter().find(|(h, _)| *h == hyper).map(|(_, v)| *v)
    }

    /// The value.
    ///
    /// # Panics
    /// If the optimizer has no such hyperparameter.
    #[track_caller]
    pub fn get(&self, hyper: Hyper) -> f64 {
        self.find(hyper).unwrap_or_else(|| {
            panic!("this optimizer has no hyperparameter {hyper}; it has {:?}", self.names())
        })
    }

    /// Sets or adds a value.
    pub fn set(&mut self, hyper: Hyper, value: f64) {
        match self.0.iter_mut().find(|(h, _)| *h == hyper) {
            Some(entry) => entry.1 = value,
            None => self.0.push((hyper, value)),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Hyper, f64)> {
        self.0.iter().copied()
    }

    fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(h, _)| h.name()).collect()
    }
}
