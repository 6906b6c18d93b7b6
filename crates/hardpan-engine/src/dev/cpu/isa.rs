//! Which vector instructions the kernels use.
//!
//! [`isa`] names the widest instruction set that both this build and this machine know. Setting
//! `HARDPAN_ISA=scalar|avx2|avx512|neon` lowers it for the whole process, and [`with_isa`] lowers it
//! for one closure on one thread, which is how tests run a kernel once for each of [`available`].
//!
//! Beside it, [`bf16_dots`] tells whether products of bf16 use the processor's own bf16 dot product (`vdpbf16ps`) rather than
//! turning bf16 into f32 first.
//!
//! A kernel reads [`isa`] once on the thread that calls it and hands the value to its tasks, so one
//! operation never mixes instruction sets.
//!
//! ```
//! use hardpan_engine::dev::cpu::isa::{Isa, available, isa, with_isa};
//! assert!(available().contains(&isa()));
//! assert_eq!(with_isa(Isa::Scalar, isa), Isa::Scalar);
//! ```
use std::cell::Cell;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// A vector instruction set that the CPU kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust, whatever the compiler makes of it; runs everywhere and is the oracle.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C: 8 f32 lanes, 16 registers.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL: 16 f32 lanes, 32 registers.
    Avx512,
    /// AArch64 with NEON: 4 f32 lanes, 32 registers.
    Neon,
}

impl Isa {
    /// Every instruction set, from narrow to wide.
    pub const ALL: [Isa; 4] = [Isa::Scalar, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// The name that `HARDPAN_ISA` takes.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }

    /// Whether this build has kernels for the instruction set and this machine can run them.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text was not the name of an instruction set that this machine can run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction set {asked:?} is not available here; this machine runs: {available}")]
pub struct IsaError {
    asked: String,
    available: String,
}

impl FromStr for Isa {
    type Err = IsaError;

    /// Reads one of `scalar`, `avx2`, `avx512`, `neon`; an error if this machine cannot run it.
    fn from_str(text: &str) -> Result<Self, IsaError> {
        let wanted = text.trim().to_ascii_lowercase();
        available().into_iter().find(|isa| isa.name() == wanted).ok_or_else(|| IsaError {
            asked: text.to_owned(),
            available: available().iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", "),
        })
    }
}

/// The instruction sets that this machine can run, from narrow to wide; never empty.
pub fn available() -> Vec<Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
}

/// Whether products of bf16 matrices and images run on `vdpbf16ps`: pairs of bf16 multiplied and added to f32 sums, without
/// conversion. So where [`isa`] is AVX-512, the processor has the instruction, and it is faster than f32 arithmetic.
///
/// That is decided by maker, not by a measurement, so that results do not change from run to run: AMD's processors take twice as
/// many products per cycle this way, Intel's half as many. `HARDPAN_BF16_DOT=0|1` overrides the choice (1 only where the
/// instruction exists), [`with_bf16_dots`] does so for one closure.
pub fn bf16_dots() -> bool {
    static CHOSEN: OnceLock<bool> = OnceLock::new();
    isa() == Isa::Avx512
        && DOTS.get().unwrap_or_else(|| {
            *CHOSEN.get_or_init(|| {
                has_bf16_dots()
                    && match std::env::var("HARDPAN_BF16_DOT").as_deref().map(str::trim) {
                        Ok("0") => false,
                        Ok("1") => true,
                        _ => made_by_amd(),
                    }
            })
        })
}

/// Whether this machine has the instruction of [`bf16_dots`].
pub fn has_bf16_dots() -> bool {
    #[cfg(target_arch = "x86_64")]
    return Isa::Avx512.is_available() && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

fn made_by_amd() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let leaf = std::arch::x86_64::__cpuid(0);
        let name = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
        name.as_flattened() == b"AuthenticAMD"
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Runs `f` with [`bf16_dots`] returning `on` on this thread (while [`isa`] is AVX-512).
///
/// # Panics
/// When `on` is asked of a machine without the instruction.
#[track_caller]
pub fn with_bf16_dots<R>(on: bool, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<bool>);
    impl Drop for Restore {
        fn drop(&mut self) {
            DOTS.set(self.0);
        }
    }
    assert!(!on || has_bf16_dots(), "with_bf16_dots: this machine has no bf16 dot products");
    let _restore = Restore(DOTS.replace(Some(on)));
    f()
}

thread_local! {
    static DOTS: Cell<Option<bool>> = const { Cell::new(None) };
    static LOWERED: Cell<Option<Isa>> = const { Cell::new(None) };
}

/// The instruction set in use on this thread: the widest available, unless `HARDPAN_ISA` or
/// [`with_isa`] lowers it.
///
/// # Panics
/// When `HARDPAN_ISA` names an instruction set that is unknown or that this machine cannot run.
pub fn isa() -> Isa {
    static DETECTED: OnceLock<Isa> = OnceLock::new();
    LOWERED.get().unwrap_or_else(|| {
        *DETECTED.get_or_init(|| match std::env::var("HARDPAN_ISA") {
            Ok(name) if !name.trim().is_empty() => {
                name.parse().unwrap_or_else(|error| panic!("HARDPAN_ISA: {error}"))
            }
            _ => *available().last().expect("scalar is always available"),
        })
    })
}

/// Runs `f` with [`isa`] returning `chosen` on this thread.
///
/// # Panics
/// When this machine cannot run `chosen`.
#[track_caller]
pub fn with_isa<R>(chosen: Isa, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Isa>);
    impl Drop for Restore {
        fn drop(&mut self) {
            LOWERED.set(self.0);
        }
    }
    assert!(chosen.is_available(), "with_isa: this machine cannot run {chosen}");
    let _restore = Restore(LOWERED.replace(Some(chosen)));
    f()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_unknown_names_are_refused() {
        for isa in available() {
            assert_eq!(isa.name().parse(), Ok(isa));
        }
        let error = "sse9".parse::<Isa>().unwrap_err().to_string();
        assert!(error.contains("sse9") && error.contains("scalar"), "{error}");
    }

    #[test]
    fn lowering_is_undone_even_by_a_panic() {
        let before = isa();
        let caught = std::panic::catch_unwind(|| with_isa(Isa::Scalar, || panic!("on purpose")));
        assert!(caught.is_err());
        assert_eq!(isa(), before);
    }
}
