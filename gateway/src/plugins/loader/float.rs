//! The floating-point mode of a thread, which a plugin linked with -ffast-math changes when it is loaded.

/// Runs `f` and restores the mode; says whether it had changed.
#[cfg(target_arch = "x86_64")]
pub(super) fn kept<T>(f: impl FnOnce() -> T) -> (T, bool) {
    /// The bits that say how to reckon: all but the sticky exception flags.
    const MODE: u32 = !0x3f;
    let mut before = 0_u32;
    // SAFETY: stores the 4 bytes of MXCSR into a variable of ours.
    unsafe { core::arch::asm!("stmxcsr [{}]", in(reg) &raw mut before, options(nostack)) };
    let result = f();
    let mut after = 0_u32;
    // SAFETY: stores the 4 bytes of MXCSR into a variable of ours.
    unsafe { core::arch::asm!("stmxcsr [{}]", in(reg) &raw mut after, options(nostack)) };
    // SAFETY: loads a value that was there before, so it is valid.
    unsafe { core::arch::asm!("ldmxcsr [{}]", in(reg) &raw const before, options(nostack, readonly)) };
    (result, before & MODE != after & MODE)
}

/// Other processors: nothing is known to change.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn kept<T>(f: impl FnOnce() -> T) -> (T, bool) {
    (f(), false)
}
