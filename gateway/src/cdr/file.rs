//! The file of call records: one line each, and every line whole.
//!
//! A process that is killed, or a disk that is full, can leave part of a line at the end. It is never glued to the next
//! record: a write that failed is cut off again, and a part that an earlier process left is moved to a file beside, so
//! that whatever reads JSON lines reads all others.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::permissions::{folder_of, resolved};

/// More than any line of ours has: what is longer is searched in parts.
const MAX_LINE: u64 = 64 * 1024;

/// Files that it was before, in which a call's line is looked for.
const MAX_ROTATED: usize = 2;

/// The file, open.
///
/// It may be rotated by renaming it: a record goes to whatever file has the path by then, which is made if need be.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    open: Option<File>,
    /// The file may end in part of a line: the next begins with a line end of its own.
    torn: bool,
}

impl RecordFile {
    /// Opens the file, makes its folder and itself (for its owner only) if they are missing, and heals its last line.
    ///
    /// # Errors
    /// If the file cannot be opened for reading and appending: our configuration or our disk.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut records = Self {
            path: path.to_owned(),
            open: None,
            torn: false,
        };
        records.open = Some(records.open_now()?);
        Ok(records)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line with its end: all of it, or nothing.
    ///
    /// # Errors
    /// If it could not be written; then it may be tried again.
    pub fn append(&mut self, line: &str) -> io::Result<()> {
        let mut file = match self.open.take().filter(|file| is_at(file, &self.path)) {
            Some(file) => file,
            None => self.open_now()?,
        };
        let written = append_whole(&mut file, &mut self.torn, line);
        self.open = Some(file);
        written
    }

    /// Those of `calls` that have a whole line in the file, or in one of the latest that it was before.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn find(&self, calls: &BTreeSet<String>) -> io::Result<BTreeSet<String>> {
        let mut found = find_in(&self.path, calls)?;
        for rotated in rotated(&self.path) {
            if found.len() < calls.len() {
                // It may be gone by now.
                found.extend(find_in(&rotated, calls).unwrap_or_default());
            }
        }
        Ok(found)
    }

    fn open_now(&mut self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = options.open(&self.path)?;
        self.torn = false;
        if file.metadata()?.is_file() {
            // Another handle, since this one need not be readable.
            let readable = options.read(true).open(&self.path)?;
            if let Err(error) = heal(&readable, &beside(&self.path)) {
                tracing::error!(file = %self.path.display(), %error, "the torn last call record cannot be moved away");
                self.torn = true;
            }
        }
        Ok(file)
    }
}

fn find_in(path: &Path, calls: &BTreeSet<String>) -> io::Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Line {
        call: String,
    }
    let mut found = BTreeSet::new();
    let file = File::open(path)?;
    if calls.is_empty() || !file.metadata()?.is_file() {
        return Ok(found);
    }
    let (mut reader, mut line) = (BufReader::new(file), Vec::new());
    while reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
        if let Ok(Line { call }) = serde_json::from_slice(&line)
            && calls.contains(&call)
        {
            found.insert(call);
        }
        line.clear();
    }
    Ok(found)
}

/// The files beside it that were renamed from it last, by their names.
fn rotated(path: &Path) -> Vec<PathBuf> {
    let path = resolved(path);
    let (Some(name), Ok(entries)) = (path.file_name(), fs::read_dir(folder_of(&path))) else {
        return Vec::new();
    };
    let torn = beside(&path);
    let of_it = |entry: &fs::DirEntry| {
        let other = entry.file_name();
        other.as_encoded_bytes().starts_with(name.as_encoded_bytes()) && other != name && entry.path() != torn
    };
    let dated = |entry: fs::DirEntry| {
        let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        Some((meta.modified().ok()?, entry.path()))
    };
    let mut files: Vec<_> = entries.flatten().filter(of_it).filter_map(dated).collect();
    files.sort();
    files
        .into_iter()
        .rev()
        .take(MAX_ROTATED)
        .map(|(_, path)| path)
        .collect()
}

/// Where the torn parts of lines go.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".torn");
    beside.into()
}

/// Whether the path still leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// Makes the file end with a line end: what follows the last one is moved to `beside`, or, if only the line end of a record
/// is missing, that is added.
fn heal(file: &File, beside: &Path) -> io::Result<()> {
    let length = file.metadata()?.len();
    let start = last_line(file, length)?;
    if start == length {
        return Ok(());
    }
    let mut part = file;
    part.seek(SeekFrom::Start(start))?;
    if length - start <= MAX_LINE {
        let mut text = Vec::new();
        part.read_to_end(&mut text)?;
        if serde_json::from_slice::<serde_json::Map<_, _>>(&text).is_ok() {
            return part.write_all(b"\n");
        }
        part.seek(SeekFrom::Start(start))?;
    }
    // Copied before it is cut off: if the process dies in between, the part is there twice, and not never.
    let mut torn = OpenOptions::new().append(true).create(true).mode(0o600).open(beside)?;
    io::copy(&mut part, &mut torn)?;
    torn.write_all(b"\n")?;
    file.set_len(start)?;
    tracing::warn!(file = %beside.display(), "a torn call record was moved away");
    Ok(())
}

/// Where the last line begins; the length, if the file ends with a line end.
fn last_line(file: &File, length: u64) -> io::Result<u64> {
    let mut block = [0; 4096];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// What a line is appended to.
trait Appendable: Write {
    /// How long it is.
    fn length(&self) -> io::Result<u64>;

    /// Cuts off what is longer.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Appendable for File {
    fn length(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// Writes a line; what was written of one that failed is cut off. If that fails too, `torn` says so.
fn append_whole(file: &mut impl Appendable, torn: &mut bool, line: &str) -> io::Result<()> {
    let before = file.length()?;
    let text = if *torn { format!("\n{line}") } else { line.to_owned() };
    match file.write_all(text.as_bytes()).and_then(|()| file.flush()) {
        Ok(()) => {
            *torn = false;
            Ok(())
        }
        Err(error) => {
            // Never made longer: somebody may have emptied the file meanwhile.
            let cut = match file.length() {
                Ok(length) if length > before => file.cut(before),
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            *torn |= cut.is_err();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests;
