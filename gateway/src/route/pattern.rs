//! Which numbers a route is for: literals, `[0-9]{3}` classes and `{name}` captures.
//!
//! A capture takes one character or more, as few as it can, unless a class says which and how many: `{room:[0-9]{3}}`.
//! Two open captures never touch, so the earliest place of what stands between them is always right: nothing is tried
//! twice, and a match takes at most (length of the number) × (length of the pattern) steps, both bounded.

use std::fmt;
use std::str::FromStr;

/// Longest pattern and longest number, in characters. A SIP user part or a hub account is far shorter; the product of
/// the two bounds the steps of a match.
const MAX_CHARS: usize = 256;

/// A parsed `number` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// `None` matches every number, also the empty one.
    pieces: Option<Vec<Piece>>,
}

/// A part of the pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// A capture of one character or more.
    Open(String),
    /// Things of a known length, one after the other.
    Fixed(Vec<Unit>),
}

/// What one character, or several of a class, must be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unit {
    class: Class,
    count: usize,
    name: Option<String>,
}

/// A set of characters, as ranges with both ends in.
type Class = Vec<(char, char)>;

/// What a number gave to the names of a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures(Vec<(String, String)>);

impl Captures {
    /// The text that the first of them took.
    pub fn first(&self) -> Option<&str> {
        self.0.first().map(|(_, text)| text.as_str())
    }

    /// The text that `name` took.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, text)| text.as_str())
    }
}

impl Pattern {
    /// Matches every number, also the empty one; the pattern of a route without `number`.
    pub fn any() -> Self {
        Self {
            text: String::new(),
            pieces: None,
        }
    }

    /// Says whether it matches every number.
    pub fn is_any(&self) -> bool {
        self.pieces.is_none()
    }

    /// Says whether a capture of this name exists.
    pub fn has(&self, name: &str) -> bool {
        self.pieces.iter().flatten().any(|piece| match piece {
            Piece::Open(open) => open == name,
            Piece::Fixed(units) => units.iter().any(|unit| unit.name.as_deref() == Some(name)),
        })
    }

    /// Matches the whole number; `None` if it is not meant.
    pub fn matches(&self, number: &str) -> Option<Captures> {
        let Some(pieces) = &self.pieces else {
            return Some(Captures::default());
        };
        let number: Vec<char> = number.chars().take(MAX_CHARS + 1).collect();
        // No account has such characters, and they must not reach a log line or a header.
        if number.len() > MAX_CHARS || number.iter().any(|c| c.is_control() || c.is_whitespace()) {
            return None;
        }
        let mut captures = Captures::default();
        let mut at = 0;
        let mut open: Option<&str> = None;
        for (index, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::Open(name) => open = Some(name),
                Piece::Fixed(units) => {
                    let length: usize = units.iter().map(|unit| unit.count).sum();
                    let latest = number.len().checked_sub(length)?;
                    let last = index + 1 == pieces.len();
                    let (from, to) = match (open, last) {
                        (Some(_), true) => (latest, latest),
                        (Some(_), false) => (at + 1, latest),
                        (None, _) => (at, at),
                    };
                    if from < at + usize::from(open.is_some()) || to > latest || (last && to != latest) {
                        return None;
                    }
                    let start = (from..=to).find(|&start| fits(units, &number[start..]))?;
                    if let Some(name) = open.take() {
                        captures.0.push((name.to_owned(), number[at..start].iter().collect()));
                    }
                    at = start;
                    for unit in units {
                        if let Some(name) = &unit.name {
                            captures
                                .0
                                .push((name.clone(), number[at..at + unit.count].iter().collect()));
                        }
                        at += unit.count;
                    }
                }
            }
        }
        match open {
            Some(name) if at < number.len() => {
                captures.0.push((name.to_owned(), number[at..].iter().collect()));
                Some(captures)
            }
            Some(_) => None,
            None => (at == number.len()).then_some(captures),
        }
    }
}

/// Says whether the number begins with these units; it is long enough.
fn fits(units: &[Unit], number: &[char]) -> bool {
    let mut rest = number.iter();
    units.iter().all(|unit| {
        rest.by_ref()
            .take(unit.count)
            .all(|c| unit.class.iter().any(|(low, high)| (low..=high).contains(&c)))
    })
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let length = text.chars().count();
        if length > MAX_CHARS {
            return Err(PatternError::Long);
        }
        let mut parser = Parser {
            rest: text,
            pieces: Vec::new(),
            names: Vec::new(),
            length: 0,
        };
        while let Some(c) = parser.rest.chars().next() {
            match c {
                '{' => parser.capture()?,
                '[' => {
                    let (class, count) = parser.class()?;
                    parser.push(Unit {
                        class,
                        count,
                        name: None,
                    })?;
                }
                '}' | ']' => return Err(PatternError::Unopened(c)),
                _ => {
                    parser.rest = &parser.rest[c.len_utf8()..];
                    parser.push(Unit {
                        class: vec![(c, c)],
                        count: 1,
                        name: None,
                    })?;
                }
            }
        }
        Ok(Self {
            text: text.to_owned(),
            pieces: Some(parser.pieces),
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The state of reading a pattern from left to right.
struct Parser<'a> {
    rest: &'a str,
    pieces: Vec<Piece>,
    names: Vec<String>,
    length: usize,
}

impl Parser<'_> {
    /// Reads `{name}` or `{name:[class]{n}}`.
    fn capture(&mut self) -> Result<(), PatternError> {
        self.rest = &self.rest[1..];
        let end = self.rest.find(['}', ':']).ok_or(PatternError::Unclosed('{'))?;
        let name = self.rest[..end].to_owned();
        if !is_name(&name) {
            return Err(PatternError::Name(name));
        }
        if self.names.contains(&name) {
            return Err(PatternError::Twice(name));
        }
        self.names.push(name.clone());
        let with_class = self.rest[end..].starts_with(':');
        self.rest = &self.rest[end + 1..];
        if !with_class {
            if let Some(Piece::Open(before)) = self.pieces.last() {
                return Err(PatternError::Touching(before.clone(), name));
            }
            self.pieces.push(Piece::Open(name));
            return Ok(());
        }
        if !self.rest.starts_with('[') {
            return Err(PatternError::NoClass(name));
        }
        let (class, count) = self.class()?;
        self.rest = self.rest.strip_prefix('}').ok_or(PatternError::Unclosed('{'))?;
        self.push(Unit {
            class,
            count,
            name: Some(name),
        })
    }

    /// Reads `[a-z_]` and a `{n}` behind it.
    fn class(&mut self) -> Result<(Class, usize), PatternError> {
        let inside = &self.rest[1..];
        // A bracket right at the front is a member, as everywhere else.
        let first = inside.chars().next().ok_or(PatternError::Unclosed('['))?.len_utf8();
        let end = first + inside[first..].find(']').ok_or(PatternError::Unclosed('['))?;
        if inside.starts_with('^') {
            return Err(PatternError::Negated);
        }
        let members: Vec<char> = inside[..end].chars().collect();
        let mut class = Vec::new();
        let mut at = 0;
        while let Some(&low) = members.get(at) {
            match (members.get(at + 1), members.get(at + 2)) {
                (Some('-'), Some(&high)) if low <= high => {
                    class.push((low, high));
                    at += 3;
                }
                (Some('-'), Some(&high)) => return Err(PatternError::Backwards(low, high)),
                _ => {
                    class.push((low, low));
                    at += 1;
                }
            }
        }
        self.rest = &inside[end + 1..];
        let Some(inside) = self
            .rest
            .strip_prefix('{')
            .filter(|text| text.starts_with(|c: char| c.is_ascii_digit()))
        else {
            return Ok((class, 1));
        };
        let end = inside.find('}').ok_or(PatternError::Unclosed('{'))?;
        let count = inside[..end]
            .parse()
            .ok()
            .filter(|count| (1..=MAX_CHARS).contains(count));
        self.rest = &inside[end + 1..];
        Ok((class, count.ok_or(PatternError::Count)?))
    }

    /// Appends to the last run of known length, or begins one.
    fn push(&mut self, unit: Unit) -> Result<(), PatternError> {
        self.length += unit.count;
        if self.length > MAX_CHARS {
            return Err(PatternError::Long);
        }
        match self.pieces.last_mut() {
            Some(Piece::Fixed(units)) => units.push(unit),
            Some(Piece::Open(_)) | None => self.pieces.push(Piece::Fixed(vec![unit])),
        }
        Ok(())
    }
}

/// Says whether this may stand between braces: a lower-case letter, then letters, digits, `_`.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Why a pattern cannot be read: our configuration. The text is the rest of a sentence that begins with the option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Longer than any number.
    #[error("is longer than 256 characters")]
    Long,
    /// An opening bracket or brace without its other half.
    #[error("has a \"{0}\" that is never closed; a capture is written {{name}}, a class [0-9]{{3}}")]
    Unclosed(char),
    /// A closing bracket or brace without its other half.
    #[error("has a \"{0}\" that was never opened; as a character to dial it is written [{0}]")]
    Unopened(char),
    /// Something between braces that is no name.
    #[error("has \"{{{0}}}\", which is no capture; a name is a lower-case letter, then letters, digits and _")]
    Name(String),
    /// A name used for two captures.
    #[error("captures \"{0}\" twice; give each capture its own name")]
    Twice(String),
    /// Two open captures side by side.
    #[error(
        "has {{{0}}} and {{{1}}} side by side, and nothing says where one ends; put a character or a class between"
    )]
    Touching(String, String),
    /// A colon without a class behind it.
    #[error("has no class behind \"{{{0}:\"; it is written {{{0}:[0-9]{{3}}}}")]
    NoClass(String),
    /// A negated class.
    #[error("has a class that begins with ^; name the characters that are allowed instead")]
    Negated,
    /// A range from high to low.
    #[error("has the range {0}-{1}, which runs backwards")]
    Backwards(char, char),
    /// A count of 0 or too high.
    #[error("has a count that is not between 1 and 256")]
    Count,
}
