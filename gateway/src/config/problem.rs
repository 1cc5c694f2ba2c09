//! What is wrong with the settings, as an operator reads it: a place and a sentence with advice.

use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake: the operator's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What is wrong there and what would fix it.
    pub sentence: String,
}

/// Where a mistake is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A folder or a file as a whole, which is missing or unreadable.
    File(PathBuf),
    /// A line of a file, counted from 1.
    Line(PathBuf, usize),
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(file) => write!(f, "{}: ", file.display())?,
            Place::Line(file, line) => write!(f, "{}:{line}: ", file.display())?,
            Place::Variable(name) => write!(f, "environment variable {name}: ")?,
        }
        f.write_str(&self.sentence)
    }
}

/// All mistakes of one run, at least one, in the order of the files and their lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// One mistake about a folder or a file as a whole.
    pub(super) fn file(file: &Path, sentence: String) -> Self {
        Self(vec![Problem {
            place: Place::File(file.to_owned()),
            sentence,
        }])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
