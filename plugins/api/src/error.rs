//! Why a plugin says no, and the code each reason crosses the border as.

use core::fmt;

use crate::abi;

/// The result codes of the contract. The variant says whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The host passed what the contract forbids: a count, a pointer, an unknown word. A bug of the host.
    Argument,
    /// Not offered by this plugin: the host falls back (its own concealment, no FEC, no such setting).
    Unsupported,
    /// The two descriptions have nothing in common.
    NoMatch,
    /// The peer's bytes or words are broken.
    Malformed,
    /// The buffer is too small; the host may come again with a larger one.
    TooSmall,
    /// Called at the wrong time, for instance a datagram before the remote description.
    State,
    /// Out of memory or over a bound of the plugin's own.
    Resources,
    /// A bug of the plugin. The host frees the handle and makes no other call on it.
    Internal,
}

impl Error {
    /// Returns the negative number that stands for this reason.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Argument => abi::E_ARGUMENT,
            Self::Unsupported => abi::E_UNSUPPORTED,
            Self::NoMatch => abi::E_NO_MATCH,
            Self::Malformed => abi::E_MALFORMED,
            Self::TooSmall => abi::E_TOO_SMALL,
            Self::State => abi::E_STATE,
            Self::Resources => abi::E_RESOURCES,
            Self::Internal => abi::E_INTERNAL,
        }
    }

    /// Reads a negative result; an unknown number counts as [`Error::Internal`].
    #[must_use]
    pub const fn from_code(code: i32) -> Self {
        match code {
            abi::E_ARGUMENT => Self::Argument,
            abi::E_UNSUPPORTED => Self::Unsupported,
            abi::E_NO_MATCH => Self::NoMatch,
            abi::E_MALFORMED => Self::Malformed,
            abi::E_TOO_SMALL => Self::TooSmall,
            abi::E_STATE => Self::State,
            abi::E_RESOURCES => Self::Resources,
            _ => Self::Internal,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argument => "argument outside the contract",
            Self::Unsupported => "not supported",
            Self::NoMatch => "nothing in common",
            Self::Malformed => "malformed",
            Self::TooSmall => "buffer too small",
            Self::State => "wrong time for this call",
            Self::Resources => "out of resources",
            Self::Internal => "internal error of the plugin",
        })
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_reasons_match_both_ways() {
        for code in -8..0 {
            assert_eq!(Error::from_code(code).code(), code);
        }
        assert_eq!(Error::from_code(-9), Error::Internal);
        assert_eq!(Error::from_code(i32::MIN), Error::Internal);
    }
}
