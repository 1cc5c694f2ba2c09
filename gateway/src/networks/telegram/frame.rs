//! What passes between the machine and the clients of its accounts.
//!
//! A frame is `account (u32, little-endian), kind (u8), number (u64, little-endian), body`. It never leaves the machine.

/// The longest name of an error that is believed to be one.
const MAX_NAME: usize = 64;
/// Bytes before the body.
const HEAD: usize = 13;

const REQUEST: u8 = 0;
const KEEP: u8 = 1;
const ANSWER: u8 = 2;
const ERROR: u8 = 3;
const UPDATE: u8 = 4;
const UP: u8 = 5;
const AWAY: u8 = 6;
const OUT: u8 = 7;
const KEPT: u8 = 8;

/// For the client of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Asks the service; the answer bears this number.
    Request {
        /// Never twice.
        number: u64,
        /// A TL function.
        body: Vec<u8>,
    },
    /// Keeps this beside the login, for the next start.
    Keep(Vec<u8>),
}

/// From the client of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The service has answered with a TL object.
    Answer {
        /// Of the request.
        number: u64,
        /// The object.
        body: Vec<u8>,
    },
    /// The service has refused, or could not be asked.
    Error {
        /// Of the request.
        number: u64,
        /// Code, name and number, as the service says them.
        error: RpcError,
    },
    /// Something has happened: a `Vector<User>` and an `Update`.
    Update(Vec<u8>),
    /// The account is logged in and connected.
    Up,
    /// Its connection is gone for now.
    Away,
    /// The login is gone: in words, why.
    Out(String),
    /// What was kept before the start.
    Kept(Vec<u8>),
}

/// An error of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    /// As in HTTP; 0 if the service could not be asked.
    pub code: i32,
    /// `FLOOD_WAIT`, without the number behind it.
    pub name: String,
    /// That number.
    pub value: Option<u32>,
}

/// A word for one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<T> {
    /// Its place among the accounts of the settings.
    pub account: u32,
    /// The word.
    pub word: T,
}

fn frame(account: u32, kind: u8, number: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend(account.to_le_bytes());
    bytes.push(kind);
    bytes.extend(number.to_le_bytes());
    bytes.extend(body);
    bytes
}

fn parts(bytes: &[u8]) -> Option<(u32, u8, u64, &[u8])> {
    let (account, rest) = bytes.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first()?;
    let (number, body) = rest.split_first_chunk::<8>()?;
    Some((u32::from_le_bytes(*account), *kind, u64::from_le_bytes(*number), body))
}

impl Frame<Order> {
    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.word {
            Order::Request { number, body } => frame(self.account, REQUEST, *number, body),
            Order::Keep(body) => frame(self.account, KEEP, 0, body),
        }
    }

    /// Reads one; `None` if it is none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (account, kind, number, body) = parts(bytes)?;
        let body = body.to_vec();
        let word = match kind {
            REQUEST => Order::Request { number, body },
            KEEP => Order::Keep(body),
            _ => return None,
        };
        Some(Self { account, word })
    }
}

impl Frame<Report> {
    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, number, body) = match &self.word {
            Report::Answer { number, body } => (ANSWER, *number, body.clone()),
            Report::Error { number, error } => (ERROR, *number, error.to_bytes()),
            Report::Update(body) => (UPDATE, 0, body.clone()),
            Report::Up => (UP, 0, Vec::new()),
            Report::Away => (AWAY, 0, Vec::new()),
            Report::Out(why) => (OUT, 0, why.clone().into_bytes()),
            Report::Kept(body) => (KEPT, 0, body.clone()),
        };
        frame(self.account, kind, number, &body)
    }

    /// Reads one; `None` if it is none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (account, kind, number, body) = parts(bytes)?;
        let word = match kind {
            ANSWER => Report::Answer {
                number,
                body: body.to_vec(),
            },
            ERROR => Report::Error {
                number,
                error: RpcError::parse(body)?,
            },
            UPDATE => Report::Update(body.to_vec()),
            UP => Report::Up,
            AWAY => Report::Away,
            OUT => Report::Out(str::from_utf8(body).ok()?.to_owned()),
            KEPT => Report::Kept(body.to_vec()),
            _ => return None,
        };
        Some(Self { account, word })
    }
}

impl RpcError {
    /// As the service says it: names are capital letters, and what is none is nobody's to read.
    #[must_use]
    pub fn of_service(code: i32, name: &str, value: Option<u32>) -> Self {
        let is_plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        let is_name = name.len() <= MAX_NAME && name.bytes().all(is_plain);
        let name = if is_name { name } else { "NO_NAME" };
        Self {
            code,
            name: name.to_owned(),
            value,
        }
    }

    /// The service could not be asked.
    #[must_use]
    pub fn unreachable() -> Self {
        Self {
            code: 0,
            name: String::new(),
            value: None,
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.code.to_le_bytes().to_vec();
        bytes.extend(self.value.map_or(u64::MAX, u64::from).to_le_bytes());
        bytes.extend(self.name.as_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (code, rest) = bytes.split_first_chunk::<4>()?;
        let (value, name) = rest.split_first_chunk::<8>()?;
        Some(Self {
            code: i32::from_le_bytes(*code),
            name: str::from_utf8(name).ok()?.to_owned(),
            value: u32::try_from(u64::from_le_bytes(*value)).ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_not_repeated() {
        let name = |text: &str| RpcError::of_service(400, text, None).name;
        assert_eq!(name("FLOOD_WAIT"), "FLOOD_WAIT");
        for text in ["\u{1b}[2J", "Passed from the service", &"A".repeat(65), "A\nB"] {
            assert_eq!(name(text), "NO_NAME");
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_scraps_are_none() {
        let error = RpcError {
            code: 420,
            name: "FLOOD_WAIT".to_owned(),
            value: Some(7),
        };
        for word in [
            Report::Answer {
                number: 5,
                body: vec![1, 2],
            },
            Report::Error { number: 6, error },
            Report::Error {
                number: 6,
                error: RpcError::unreachable(),
            },
            Report::Update(vec![3]),
            Report::Up,
            Report::Away,
            Report::Out("revoked".to_owned()),
            Report::Kept(Vec::new()),
        ] {
            let frame = Frame { account: 3, word };
            let bytes = frame.to_bytes();
            assert_eq!(Frame::<Report>::parse(&bytes), Some(frame));
            assert_eq!(Frame::<Report>::parse(&bytes[..HEAD - 1]), None);
            assert_eq!(Frame::<Order>::parse(&bytes), None);
        }
        for word in [
            Order::Request {
                number: 1,
                body: vec![9],
            },
            Order::Keep(vec![8]),
        ] {
            let frame = Frame { account: 0, word };
            assert_eq!(Frame::<Order>::parse(&frame.to_bytes()), Some(frame.clone()));
            assert_eq!(Frame::<Report>::parse(&frame.to_bytes()), None);
        }
    }
}
