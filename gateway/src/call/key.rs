//! Names of calls that no other call has, of this process or an earlier one.

use std::fmt;
use std::str::FromStr;

use rand_core::Rng;

/// The name of this process; every SIP tag, branch and Contact user begins with it, and the name of every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance(u32);

impl Instance {
    /// Draws one: 28 bits, so that the calls of two processes whose records stand in one file are told apart.
    pub fn draw(rng: &mut (impl Rng + ?Sized)) -> Self {
        Self(rng.next_u32() >> 4)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "q{:07x}", self.0)
    }
}

/// Our own name of a call, as records, the log and `quartet calls` show it: `q01abcde-17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKey {
    instance: Instance,
    number: u64,
}

impl CallKey {
    /// The call of that number; the process never gives a number twice.
    pub fn new(instance: Instance, number: u64) -> Self {
        Self { instance, number }
    }
}

impl fmt::Display for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.instance, self.number)
    }
}

/// The text is no name of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a call's name")]
pub struct NoCallKey;

impl FromStr for CallKey {
    type Err = NoCallKey;

    /// Reads what `Display` writes and nothing else.
    fn from_str(text: &str) -> Result<Self, NoCallKey> {
        let (instance, number) = text
            .strip_prefix('q')
            .and_then(|rest| rest.split_once('-'))
            .ok_or(NoCallKey)?;
        let key = Self {
            instance: Instance(u32::from_str_radix(instance, 16).map_err(|_| NoCallKey)?),
            number: number.parse().map_err(|_| NoCallKey)?,
        };
        if key.to_string() == text {
            Ok(key)
        } else {
            Err(NoCallKey)
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for number in [0, 17, u64::MAX] {
            let key = CallKey::new(Instance::draw(&mut rng), number);
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        assert_eq!(CallKey::new(Instance(0xabc), 7).to_string(), "q0000abc-7");
        for text in [
            "",
            "7",
            "q-7",
            "q0000abc",
            "q0000abc-",
            "q0000abc-07",
            "qABC-7",
            "q0000ABC-7",
            "q+000abc-7",
            "q0000abc-7 ",
        ] {
            assert_eq!(text.parse::<CallKey>(), Err(NoCallKey), "{text}");
        }
    }
}
