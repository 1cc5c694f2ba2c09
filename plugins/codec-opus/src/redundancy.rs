//! Which loss libopus is told, so that there is redundancy in its packets when there is loss.
//!
//! It decides by the rate that is left after the costs of its complexity and of the loss it is told, and drops redundancy
//! without a word below a threshold: a larger figure may bring less. From 6 % on it narrows the band rather than go without.
//! What stands here was measured with libopus 1.6.1, and a test looks into the packets of each cell.

use opus::Bandwidth;

/// How the encoder codes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coding {
    /// At most.
    pub(crate) band: Bandwidth,
    /// In bit/s.
    pub(crate) bitrate: i64,
    pub(crate) complexity: i64,
}

/// From this bit rate and this complexity on ...
struct Row {
    bitrate: i64,
    complexity: i64,
    /// ... this figure brings redundancy, and each from the second on does.
    few: i64,
    many: i64,
}

const fn row(bitrate: i64, complexity: i64, few: i64, many: i64) -> Row {
    Row {
        bitrate,
        complexity,
        few,
        many,
    }
}

/// The first row that fits counts; below the last there is none at all.
const NARROW: [Row; 4] = [
    row(32_000, 0, 1, 1),
    row(20_000, 2, 1, 1),
    row(24_000, 1, 1, 10),
    row(24_000, 0, 1, 15),
];
const WIDE: [Row; 6] = [
    row(32_000, 2, 1, 1),
    row(32_000, 0, 1, 6),
    row(24_000, 5, 1, 6),
    row(20_000, 2, 6, 6),
    row(24_000, 1, 10, 10),
    row(24_000, 0, 15, 15),
];
const FULL: [Row; 5] = [
    row(32_000, 6, 1, 6),
    row(32_000, 0, 6, 6),
    row(20_000, 2, 6, 6),
    row(24_000, 1, 10, 10),
    row(24_000, 0, 15, 15),
];

impl Coding {
    fn row(self) -> Option<&'static Row> {
        let rows: &[Row] = match self.band {
            Bandwidth::Auto | Bandwidth::Superwideband | Bandwidth::Fullband => &FULL,
            Bandwidth::Mediumband | Bandwidth::Wideband => &WIDE,
            Bandwidth::Narrowband => &NARROW,
        };
        let fits = |row: &&Row| self.bitrate >= row.bitrate && self.complexity >= row.complexity;
        rows.iter().find(fits)
    }

    /// The figure for this loss, in percent. Up to 1 % it stays what it is: the band is worth more.
    pub(crate) fn told(self, loss_permille: i64) -> i32 {
        // Less than one percent is still some.
        let loss = (loss_permille + 9) / 10;
        let told = match self.row() {
            Some(row) if loss > 1 && loss < row.many => row.few,
            Some(_) | None => loss,
        };
        i32::try_from(told).unwrap_or(100)
    }
}
