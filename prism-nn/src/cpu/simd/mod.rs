//! One vector of `f32` lanes, whatever the machine calls it.
//!
//! A kernel is a struct that implements [`Kernel`]; [`Isa::run`] compiles it once for each instruction set and calls the
//! chosen copy. Everything between the two must be `#[inline(always)]`, so that it lands inside the function whose
//! target features are switched on. For the same reason no closure may use a register: it is a function of its own.

#[cfg(target_arch = "aarch64")]
mod arm;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

pub use portable::Portable;

/// A vector register of [`Simd::LANES`] floats.
///
/// # Safety
/// Every method may execute instructions of its instruction set, so they may only be called below [`Isa::run`].
pub trait Simd: Copy + Send + Sync + 'static {
    /// The register.
    type V: Copy;
    /// Floats in a register.
    const LANES: usize;

    /// All lanes `x`.
    ///
    /// # Safety
    /// See [`Simd`].
    unsafe fn splat(x: f32) -> Self::V;
    /// Reads `LANES` floats at `p`, which need no alignment.
    ///
    /// # Safety
    /// See [`Simd`]; `p` must be valid for reading `LANES` floats.
    unsafe fn load(p: *const f32) -> Self::V;
    /// Writes `LANES` floats at `p`, which need no alignment.
    ///
    /// # Safety
    /// See [`Simd`]; `p` must be valid for writing `LANES` floats.
    unsafe fn store(p: *mut f32, v: Self::V);
    /// `a * b + c`.
    ///
    /// # Safety
    /// See [`Simd`].
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a + b`.
    ///
    /// # Safety
    /// See [`Simd`].
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    ///
    /// # Safety
    /// See [`Simd`].
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    ///
    /// # Safety
    /// See [`Simd`].
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a` where `open` is positive, 0 elsewhere.
    ///
    /// # Safety
    /// See [`Simd`].
    unsafe fn gate(a: Self::V, open: Self::V) -> Self::V;
    /// The larger of `a` and `b`, lane by lane.
    ///
    /// # Safety
    /// See [`Simd`].
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
}

/// Something to compute, written once for all instruction sets.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// Computes with the registers of `S`. Implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// The machine must have the instruction set of `S`.
    unsafe fn run<S: Shape>(self) -> Self::Output;
}

/// Register blocking of an instruction set: how many accumulators its register file holds.
pub trait Shape: Simd {
    /// Rows (broadcast operands) of a full tile.
    const ROWS: usize;
    /// Vectors in a row of a matrix-product tile.
    const VECTORS: usize;
}

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// 16 lanes, 32 registers.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 8 lanes, 16 registers, fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 4 lanes, 32 registers.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// Plain Rust, for every other machine and as the others' reference.
    Portable,
}

impl Isa {
    /// The best instruction set of this machine.
    pub fn detect() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::available()[0])
    }

    /// Every instruction set of this machine, best first.
    pub fn available() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                sets.push(Isa::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                sets.push(Isa::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        sets.push(Isa::Neon);
        sets.push(Isa::Portable);
        sets
    }

    /// Lanes of a register.
    pub fn lanes(self) -> usize {
        self.shape().0
    }

    /// Rows of a full tile.
    pub fn rows(self) -> usize {
        self.shape().1
    }

    /// Vectors in a row of a full tile.
    pub fn vectors(self) -> usize {
        self.shape().2
    }

    fn shape(self) -> (usize, usize, usize) {
        fn of<S: Shape>() -> (usize, usize, usize) {
            (S::LANES, S::ROWS, S::VECTORS)
        }
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => of::<x86::Avx512>(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => of::<x86::Avx2>(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => of::<arm::Neon>(),
            Isa::Portable => of::<Portable>(),
        }
    }

    /// Runs `kernel` with this instruction set.
    ///
    /// # Safety
    /// `self` must come from [`Isa::available`] on this machine, and the kernel's own conditions must hold.
    #[inline]
    pub unsafe fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            // SAFETY: the caller promises that the machine has this instruction set.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { x86::run_avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { x86::run_avx2(kernel) },
            // SAFETY: NEON is part of the aarch64 baseline.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => unsafe { kernel.run::<arm::Neon>() },
            // SAFETY: plain Rust needs no instruction set.
            Isa::Portable => unsafe { kernel.run::<Portable>() },
        }
    }
}
