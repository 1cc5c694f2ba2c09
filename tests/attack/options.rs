//! What the attacker is told: rates, numbers, and the seed of all that is drawn.

use std::fmt::{self, Display};
use std::time::Duration;

use anyhow::{Context, ensure};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// See the head of `main.rs`.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    rate: u32,
    scale: u32,
    pub(crate) names: u32,
    pub(crate) sources: u32,
    pub(crate) seed: u64,
    seconds: f64,
    only: Vec<String>,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>, rows: &[&str]) -> anyhow::Result<Self> {
        let mut options = Self {
            rate: 3000,
            scale: 1,
            names: 1000,
            sources: 2000,
            seed: 1,
            seconds: 3.0,
            only: Vec::new(),
        };
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--rate" => options.rate = value.parse()?,
                "--scale" => options.scale = value.parse()?,
                "--names" => options.names = value.parse()?,
                "--sources" => options.sources = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                "--seconds" => options.seconds = value.parse()?,
                "--only" => options.only = value.split(',').map(str::to_owned).collect(),
                _ => anyhow::bail!("unknown option {word}; the head of tests/attack/main.rs lists them"),
            }
        }
        if let Some(unknown) = options.only.iter().find(|name| !rows.contains(&name.as_str())) {
            anyhow::bail!("there is no row {unknown}; there are {}", rows.join(", "));
        }
        ensure!(
            options.rate > 0 && options.scale > 0 && options.names > 0 && options.seconds >= 1.0,
            "nothing to do"
        );
        ensure!(
            (20..=60_000).contains(&options.sources),
            "20 to 60000 sources: all are addresses 127.1.x.y"
        );
        Ok(options)
    }

    pub(crate) fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == row)
    }

    /// Packets a second of a flood.
    pub(crate) fn rate(&self) -> u32 {
        self.rate.saturating_mul(self.scale)
    }

    /// How long a flood lasts.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// What is drawn in a row.
    pub(crate) fn rng(&self, row: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.seed << 16 | row)
    }
}

impl Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "--rate {} --scale {} --names {} --sources {} --seed {} --seconds {}",
            self.rate, self.scale, self.names, self.sources, self.seed, self.seconds
        )
    }
}

/// A number below `end`, which is not 0.
pub(crate) fn below(rng: &mut ChaCha8Rng, end: u32) -> u32 {
    rng.next_u32() % end
}

/// One of several.
pub(crate) fn one_of<'a, T>(rng: &mut ChaCha8Rng, all: &'a [T]) -> &'a T {
    &all[below(rng, all.len() as u32) as usize]
}

/// A name that nobody has.
pub(crate) fn name(rng: &mut ChaCha8Rng, names: u32) -> String {
    format!("n{:05}", below(rng, names))
}
