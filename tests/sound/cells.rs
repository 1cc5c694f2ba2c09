//! The networks of the trial, and what must be heard over each.

use std::time::Duration;

use quartet_tests::network::Conditions;

/// One network, between the gateway and the user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    /// Each way.
    pub(crate) conditions: Conditions,
    /// PESQ (narrowband) of what a PCMU phone hears, at least.
    pub(crate) phone: f64,
    /// And of what the user hears.
    pub(crate) peer: f64,
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

const fn cell(name: &'static str, conditions: Conditions, phone: f64, peer: f64) -> Cell {
    Cell {
        name,
        conditions,
        phone,
        peer,
    }
}

/// All of them.
pub(crate) const CELLS: [Cell; 10] = [
    cell("clean", CLEAN, 3.87, 4.02),
    cell("random-5", losing(CLEAN, 0.05, 1.0), 3.6, 3.85),
    cell("random-20", losing(CLEAN, 0.2, 1.0), 3.0, 2.92),
    cell("bursts-20", losing(CLEAN, 0.2, 4.0), 2.6, 1.83),
    cell("far-random-5", losing(FAR, 0.05, 1.0), 3.2, 3.85),
    cell("far-random-20", losing(FAR, 0.2, 1.0), 2.3, 2.92),
    cell("far-bursts-20", losing(FAR, 0.2, 4.0), 2.0, 1.83),
    cell(
        "jitter",
        Conditions {
            delay: ms(150),
            jitter: ms(100),
            ..CLEAN
        },
        2.78,
        3.79,
    ),
    cell("lte-bad", Conditions::LTE_BAD, 3.07, 3.37),
    cell("narrow-48", Conditions { rate: 48_000, ..CLEAN }, 3.28, 3.81),
];

impl Cell {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        CELLS.iter().find(|cell| cell.name == name)
    }
}
