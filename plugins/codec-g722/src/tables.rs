//! The tables of ITU-T G.722 (09/2012): quantizers, weights, and the filter that parts the bands.

/// Decision levels of the lower band's quantizer, in units of its scale (Q6).
pub(crate) const DECISIONS_LOW: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219, 1339,
    1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// The decision level of the upper band's quantizer (Q2).
pub(crate) const DECISION_HIGH: i32 = 564;
/// Values of the lower band's codes, of six bits and of their upper four (QM6, QM4).
pub(crate) const VALUES_6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576,
    -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040,
    -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
    4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
pub(crate) const VALUES_4: [i32; 16] = [
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0,
];
/// Values of the upper band's codes (QM2).
pub(crate) const VALUES_2: [i32; 4] = [-7408, -1616, 7408, 1616];
/// How much a code of four bits, or of two, moves the scale (WL by RL42, WH by RH2).
pub(crate) const WEIGHTS_LOW: [i32; 16] = [
    -60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60,
];
pub(crate) const WEIGHTS_HIGH: [i32; 4] = [798, -214, 798, -214];
/// Powers of two in thirty-seconds (ILB).
pub(crate) const SCALE: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960, 3025,
    3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];
/// Half of the filter that parts the bands; the other half is its mirror.
pub(crate) const FILTER: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
