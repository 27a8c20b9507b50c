//! One vector of `f32` lanes, whatever the machine calls it.
//!
//! A kernel is a struct that implements [`Kernel`]; [`Isa::run`] compiles it once for each instruction set and calls the
//! chosen copy. Everything between the two must be `#[inline(always)]`, so that it lands inside the function whose
//! target features are switched on. For the same reason no closure may use a register: it is a function of its own.

use std::sync::OnceLock;

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

/// Eight lanes in plain Rust. Multiplies and adds separately: a fused one would be a library call on old machines.
#[derive(Clone, Copy)]
pub struct Portable;

impl Shape for Portable {
    const ROWS: usize = 4;
    const VECTORS: usize = 1;
}

// SAFETY (all methods): plain Rust; pointers are valid by the trait's contract.
impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: the caller promises eight readable floats.
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: the caller promises eight writable floats.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn gate(a: Self::V, open: Self::V) -> Self::V {
        std::array::from_fn(|i| if open[i] > 0.0 { a[i] } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, Shape, Simd};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    pub unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: this function's own features are those of `Avx512`.
        unsafe { kernel.run::<Avx512>() }
    }

    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: this function's own features are those of `Avx2`.
        unsafe { kernel.run::<Avx2>() }
    }

    #[derive(Clone, Copy)]
    pub struct Avx512;

    impl Shape for Avx512 {
        const ROWS: usize = 8;
        const VECTORS: usize = 2;
    }

    #[derive(Clone, Copy)]
    pub struct Avx2;

    impl Shape for Avx2 {
        const ROWS: usize = 4;
        const VECTORS: usize = 2;
    }

    /// Where `open` is positive.
    ///
    /// # Safety
    /// The machine must have AVX-512F.
    #[inline(always)]
    unsafe fn gate_512(a: __m512, open: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(open, _mm512_setzero_ps()), a) }
    }

    /// Where `open` is positive.
    ///
    /// # Safety
    /// The machine must have AVX2.
    #[inline(always)]
    unsafe fn gate_256(a: __m256, open: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(open, _mm256_setzero_ps()), a) }
    }

    /// Implements `Simd` by functions of one vector type.
    macro_rules! simd {
        ($set:ty, $v:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $fma:ident,
            [$($op:ident: $intrinsic:ident),*]) => {
            impl Simd for $set {
                type V = $v;
                const LANES: usize = $lanes;

                #[inline(always)]
                unsafe fn splat(x: f32) -> Self::V {
                    // SAFETY: the caller runs below `Isa::run`, on a machine that has the instruction.
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                unsafe fn load(p: *const f32) -> Self::V {
                    // SAFETY: as in `splat`; the caller promises readable floats.
                    unsafe { $load(p) }
                }
                #[inline(always)]
                unsafe fn store(p: *mut f32, v: Self::V) {
                    // SAFETY: as in `splat`; the caller promises writable floats.
                    unsafe { $store(p, v) }
                }
                #[inline(always)]
                unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                    // SAFETY: as in `splat`.
                    unsafe { $fma(a, b, c) }
                }
                $(#[inline(always)]
                unsafe fn $op(a: Self::V, b: Self::V) -> Self::V {
                    // SAFETY: as in `splat`.
                    unsafe { $intrinsic(a, b) }
                })*
            }
        };
    }

    simd!(
        Avx512, __m512, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps,
        [add: _mm512_add_ps, sub: _mm512_sub_ps, mul: _mm512_mul_ps, max: _mm512_max_ps, gate: gate_512]
    );
    simd!(
        Avx2, __m256, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps,
        [add: _mm256_add_ps, sub: _mm256_sub_ps, mul: _mm256_mul_ps, max: _mm256_max_ps, gate: gate_256]
    );
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{Shape, Simd};
    use std::arch::aarch64::*;

    #[derive(Clone, Copy)]
    pub struct Neon;

    impl Shape for Neon {
        const ROWS: usize = 8;
        const VECTORS: usize = 2;
    }

    // SAFETY (all methods): NEON is part of the aarch64 baseline; pointers are valid by the trait's contract.
    impl Simd for Neon {
        type V = float32x4_t;
        const LANES: usize = 4;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self::V {
            // SAFETY: NEON is always there.
            unsafe { vdupq_n_f32(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self::V {
            // SAFETY: the caller promises readable floats.
            unsafe { vld1q_f32(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: Self::V) {
            // SAFETY: the caller promises writable floats.
            unsafe { vst1q_f32(p, v) }
        }
        #[inline(always)]
        unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            // SAFETY: NEON is always there.
            unsafe { vfmaq_f32(c, a, b) }
        }
        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: NEON is always there.
            unsafe { vaddq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: NEON is always there.
            unsafe { vsubq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: NEON is always there.
            unsafe { vmulq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn gate(a: Self::V, open: Self::V) -> Self::V {
            // SAFETY: NEON is always there.
            unsafe { vbslq_f32(vcgtzq_f32(open), a, vdupq_n_f32(0.0)) }
        }
        #[inline(always)]
        unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: NEON is always there.
            unsafe { vmaxq_f32(a, b) }
        }
    }
}
