//! The networks of the trial, and what must be heard over each.

use std::time::Duration;

use quartet_tests::network::Conditions;

/// Which leg of the call the network carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leg {
    User,
    Phone,
}

/// What must be heard at least, as PESQ: at the phone, and at the user's.
pub(crate) type Wanted = [f64; 2];

/// One network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) leg: Leg,
    /// Each way.
    pub(crate) conditions: Conditions,
    /// A cut: what holds meanwhile.
    pub(crate) cut: Option<Conditions>,
    /// With a PCMU phone, narrowband.
    pub(crate) pcmu: Wanted,
    /// With an Opus phone, wideband.
    pub(crate) opus: Wanted,
    /// The worst eight seconds at the user's may be no worse.
    pub(crate) worst: f64,
    /// Seconds of forty that may be missing at the phone.
    pub(crate) holes: f64,
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const CLEAN: Conditions = Conditions {
    queue: ms(400),
    ..Conditions::CLEAN
};

const FAR: Conditions = Conditions {
    delay: ms(100),
    ..CLEAN
};

const fn losing(conditions: Conditions, loss: f64, burst: f64) -> Conditions {
    Conditions {
        loss,
        burst,
        ..conditions
    }
}

const fn cell(name: &'static str, conditions: Conditions, pcmu: Wanted, opus: Wanted) -> Cell {
    Cell {
        name,
        leg: Leg::User,
        conditions,
        cut: None,
        pcmu,
        opus,
        worst: 0.0,
        holes: 40.0,
    }
}

/// The same on the way to the phone. What it hears itself is its own affair: the phone of the trial has no buffer.
const fn at_phone(name: &'static str, conditions: Conditions, pcmu: f64, opus: f64) -> Cell {
    Cell {
        leg: Leg::Phone,
        ..cell(name, conditions, [0.0, pcmu], [0.0, opus])
    }
}

const JITTER: Conditions = Conditions {
    delay: ms(150),
    jitter: ms(100),
    ..CLEAN
};

/// A line of 500 kbit/s, and a tenth of it.
const LINE: Conditions = Conditions { rate: 500_000, ..CLEAN };
const NARROW: Conditions = Conditions { rate: 48_000, ..CLEAN };

/// A cut is from here to there, counted from the beginning of the network.
pub(crate) const CUT: (Duration, Duration) = (ms(14_000), ms(27_000));

/// All of them.
pub(crate) const CELLS: [Cell; 17] = [
    cell("clean", CLEAN, [3.87, 4.02], [4.09, 4.19]),
    cell("random-5", losing(CLEAN, 0.05, 1.0), [3.6, 3.85], [2.7, 3.55]),
    cell("random-20", losing(CLEAN, 0.2, 1.0), [3.0, 2.92], [2.6, 2.25]),
    Cell {
        holes: 2.0,
        ..cell("bursts-20", losing(CLEAN, 0.2, 4.0), [2.6, 1.83], [2.2, 1.6])
    },
    cell("far-random-5", losing(FAR, 0.05, 1.0), [3.2, 3.85], [2.7, 3.55]),
    cell("far-random-20", losing(FAR, 0.2, 1.0), [2.3, 2.92], [1.53, 2.25]),
    cell("far-bursts-20", losing(FAR, 0.2, 4.0), [2.0, 1.83], [1.3, 1.6]),
    cell("jitter", JITTER, [2.78, 3.79], [0.0, 0.0]),
    cell("lte-bad", Conditions::LTE_BAD, [3.07, 3.37], [2.9, 3.21]),
    Cell {
        worst: 1.31,
        ..cell("narrow-48", NARROW, [3.28, 3.81], [3.47, 2.64])
    },
    Cell {
        cut: Some(NARROW),
        worst: 2.3,
        ..cell("cut-48", LINE, [3.28, 3.81], [3.47, 2.64])
    },
    at_phone("phone-random-5", losing(CLEAN, 0.05, 1.0), 2.7, 2.7),
    at_phone("phone-random-20", losing(CLEAN, 0.2, 1.0), 1.7, 1.5),
    at_phone("phone-bursts-20", losing(CLEAN, 0.2, 4.0), 1.2, 1.3),
    at_phone("phone-jitter", JITTER, 2.78, 0.0),
    at_phone("phone-lte-bad", Conditions::LTE_BAD, 2.0, 2.0),
    at_phone("phone-narrow-100", Conditions { rate: 100_000, ..CLEAN }, 3.28, 3.47),
];

impl Cell {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        CELLS.iter().find(|cell| cell.name == name)
    }
}
