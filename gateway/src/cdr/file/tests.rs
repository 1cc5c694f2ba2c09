//! Whatever a crash or a full disk leaves, every other line is read.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::*;

/// A folder of its own for one test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("quartet-records-{}-{next}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("cdr.jsonl")
    }

    fn read(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn line(call: &str) -> String {
    format!("{{\"call\":\"{call}\",\"to\":\"\\\"anna\\\"\"}}\n")
}

/// Every line is JSON; gives the calls.
fn calls(text: &str) -> Vec<String> {
    let call = |line: &str| {
        serde_json::from_str::<Value>(line).expect(line)["call"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    text.lines().map(call).collect()
}

#[test]
fn lines_are_appended_for_the_owner_alone() {
    let folder = Folder::new();
    let path = folder.0.join("state/cdr.jsonl");
    for call in ["a", "b"] {
        RecordFile::open(&path).unwrap().append(&line(call)).unwrap();
    }
    assert_eq!(calls(&fs::read_to_string(&path).unwrap()), ["a", "b"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(RecordFile::open(Path::new("/proc/no/such/file")).is_err());
}

#[test]
fn a_torn_line_is_moved_away_wherever_it_was_torn() {
    let last = line("torn");
    for torn in 0..=last.len() {
        let folder = Folder::new();
        fs::write(folder.file(), line("whole") + &last[..torn]).unwrap();
        let mut file = RecordFile::open(&folder.file()).unwrap();
        file.append(&line("next")).unwrap();
        let beside = fs::read_to_string(beside(&folder.file())).unwrap_or_default();
        if torn == 0 {
            assert_eq!(calls(&folder.read()), ["whole", "next"]);
            assert_eq!(beside, "");
        } else if torn >= last.len() - 1 {
            assert_eq!(
                calls(&folder.read()),
                ["whole", "torn", "next"],
                "only the line end was missing"
            );
            assert_eq!(beside, "");
        } else {
            assert_eq!(calls(&folder.read()), ["whole", "next"], "torn at {torn}");
            assert_eq!(beside, format!("{}\n", &last[..torn]));
        }
    }
}

#[test]
fn a_file_that_is_one_torn_line_is_healed_however_long_it_is() {
    for length in [1, 4095, 4096, 4097, 200_000] {
        let folder = Folder::new();
        fs::write(folder.file(), vec![0; length]).unwrap();
        let mut file = RecordFile::open(&folder.file()).unwrap();
        file.append(&line("next")).unwrap();
        assert_eq!(calls(&folder.read()), ["next"]);
        let moved = fs::metadata(beside(&folder.file())).unwrap();
        assert_eq!(moved.len(), length as u64 + 1);
        assert_eq!(moved.permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn what_cannot_be_moved_away_is_at_least_not_glued() {
    let folder = Folder::new();
    fs::write(folder.file(), line("whole") + "{\"call\":").unwrap();
    fs::create_dir(beside(&folder.file())).unwrap();
    let mut file = RecordFile::open(&folder.file()).unwrap();
    file.append(&line("next")).unwrap();
    file.append(&line("then")).unwrap();
    assert_eq!(
        folder.read(),
        format!("{}{{\"call\":\n{}{}", line("whole"), line("next"), line("then"))
    );
}

#[test]
fn a_rotated_file_is_followed() {
    let folder = Folder::new();
    let mut file = RecordFile::open(&folder.file()).unwrap();
    file.append(&line("a")).unwrap();
    let old = folder.0.join("cdr.jsonl.1");
    fs::rename(folder.file(), &old).unwrap();
    file.append(&line("b")).unwrap();
    file.append(&line("c")).unwrap();
    assert_eq!(calls(&fs::read_to_string(&old).unwrap()), ["a"]);
    // A call that is asked for after a crash may have its line there; in the oldest of many nobody looks.
    let asked = ["a", "b", "x"].map(str::to_owned).into();
    let found = file.find(&asked).unwrap();
    assert_eq!(found.iter().collect::<Vec<_>>(), ["a", "b"]);
    fs::write(beside(&folder.file()), line("x")).unwrap();
    assert_eq!(file.find(&asked).unwrap(), found);
    assert_eq!(calls(&folder.read()), ["b", "c"]);
    assert_eq!(fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600);
    // Emptied in place, removed, replaced by a file that ends in part of a line.
    fs::write(folder.file(), "").unwrap();
    file.append(&line("d")).unwrap();
    assert_eq!(calls(&folder.read()), ["d"]);
    fs::remove_file(folder.file()).unwrap();
    file.append(&line("e")).unwrap();
    fs::write(folder.0.join("new"), line("f") + "{\"ca").unwrap();
    fs::rename(folder.0.join("new"), folder.file()).unwrap();
    file.append(&line("g")).unwrap();
    assert_eq!(calls(&folder.read()), ["f", "g"]);
}

#[test]
fn the_file_is_kept_open() {
    let folder = Folder::new();
    let mut file = RecordFile::open(&folder.file()).unwrap();
    file.append(&line("a")).unwrap();
    let descriptor = |file: &RecordFile| std::os::fd::AsRawFd::as_raw_fd(file.open.as_ref().unwrap());
    let before = descriptor(&file);
    let _another = File::open(folder.file()).unwrap();
    file.append(&line("b")).unwrap();
    assert_eq!(descriptor(&file), before);
}

#[test]
fn calls_with_a_whole_line_are_found() {
    let folder = Folder::new();
    let file = RecordFile::open(&folder.file()).unwrap();
    let noise = "{\"call\":7}\n[]\nno JSON\n{\"to\":\"{\\\"call\\\":\\\"b\\\"}\"}\n";
    let long = format!("{{\"to\":\"{}\",\"call\":\"e\"}}\n", "x".repeat(3 * MAX_LINE as usize));
    fs::write(
        folder.file(),
        line("a") + noise + &long + "{\"x\":1,\"call\":\"c\"}\n" + "{\"call\":\"d\"",
    )
    .unwrap();
    let asked = ["a", "b", "c", "d"].map(str::to_owned).into();
    let found = file.find(&asked).unwrap();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "c"]);
}

/// A disk with room for so many bytes, which cuts off or fails at that too.
struct Disk {
    bytes: Vec<u8>,
    room: usize,
    cuts: bool,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room.saturating_sub(self.bytes.len()).min(bytes.len());
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend(&bytes[..room]);
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Appendable for Disk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        if !self.cuts {
            return Err(io::ErrorKind::Other.into());
        }
        self.bytes.truncate(length as usize);
        Ok(())
    }
}

#[test]
fn a_full_disk_leaves_whole_lines() {
    for (cuts, expected) in [(true, "one\nfour\nfive\n"), (false, "one\ntw\nfour\nfive\n")] {
        let (bytes, room) = (Vec::new(), 0);
        let mut disk = Disk { bytes, room, cuts };
        let (mut torn, mut wrote) = (false, Vec::new());
        for (room, line) in [
            (100, "one\n"),
            (6, "two\n"),
            (6, "three\n"),
            (100, "four\n"),
            (100, "five\n"),
        ] {
            disk.room = room;
            wrote.push(append_whole(&mut disk, &mut torn, line).is_ok());
        }
        assert_eq!(wrote, [true, false, false, true, true]);
        assert_eq!(String::from_utf8(disk.bytes).unwrap(), expected);
    }
}
