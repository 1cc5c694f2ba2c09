//! The writer under a time that is handed in, on real files; a second connection sees what was really written.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use quartet_proto::net::{FiveTuple, Protocol};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rusqlite::Connection;

use super::*;
use crate::cdr;
use crate::store::Change;
use crate::store::tests::Folder;

const MS: Duration = Duration::from_millis(1);

/// A gateway's two files, and the writer that a process of it has.
struct World {
    folder: Folder,
    now: Instant,
    /// `None` while no process runs.
    writer: Option<Writer>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut world = Self {
            folder: Folder::new(),
            now,
            writer: None,
        };
        world.restart();
        world
    }

    fn records(&self) -> PathBuf {
        self.folder.0.join("cdr.jsonl")
    }

    /// The process is killed, if one runs, and another starts.
    fn restart(&mut self) {
        // Nothing is written when a writer is dropped: that is what `finish` is for.
        self.writer = None;
        let store = Store::open(&self.folder.file()).unwrap();
        let file = RecordFile::open(&self.records()).unwrap();
        self.writer = Some(Writer::new(self.now, store, file).unwrap());
    }

    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().unwrap()
    }

    fn change(&mut self, changes: impl IntoIterator<Item = Change>) {
        let mut all = Changes::default();
        for change in changes {
            assert!(all.add(change));
        }
        let now = self.now;
        self.writer().handle_changes(now, all.take());
    }

    /// Lets time pass, and the writer do what falls due meanwhile.
    fn pass(&mut self, length: Duration) {
        let end = self.now + length;
        while let Some(at) = self.writer().poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let now = self.now;
            self.writer().handle_timeout(now);
            let next = self.writer().poll_timeout();
            assert!(next.is_none_or(|next| next > now), "the thread would spin");
        }
        self.now = end;
    }

    /// The calls that have a row, and how long after their start they are known to have run.
    fn rows(&self) -> Vec<(String, u128)> {
        let calls = Store::open(&self.folder.file()).unwrap().calls().unwrap();
        let length = |record: &Record| record.end.duration_since(record.start).unwrap().as_millis();
        calls
            .iter()
            .map(|record| (record.call.clone(), length(record)))
            .collect()
    }

    fn row_names(&self) -> Vec<String> {
        self.rows().into_iter().map(|(call, _)| call).collect()
    }

    /// Call and cause of each line of the record file, all of which are JSON.
    fn lines(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.records()).unwrap();
        let read = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).expect(line);
            let word = |key: &str| line[key].as_str().unwrap().to_owned();
            (word("call"), word("cause"))
        };
        text.lines().map(read).collect()
    }

    fn contacts(&self) -> Vec<String> {
        let bindings = Store::open(&self.folder.file()).unwrap().bindings().unwrap();
        bindings
            .into_values()
            .flatten()
            .map(|binding| binding.contact)
            .collect()
    }
}

fn begun(call: &str) -> Record {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    Record {
        call: call.to_owned(),
        start,
        answer: None,
        end: start,
        cause: "crashed",
        legs: Vec::new(),
        ..cdr::tests::record()
    }
}

fn running(call: &str) -> Change {
    Change::Running(begun(call))
}

fn ended(call: &str) -> Change {
    Change::Ended(Record {
        cause: "answered",
        ..begun(call)
    })
}

fn binding(contact: &str) -> StoredBinding {
    StoredBinding {
        contact: contact.to_owned(),
        sip_instance: None,
        five_tuple: FiveTuple::new(
            Protocol::Udp,
            "192.0.2.1:5060".parse().unwrap(),
            "192.0.2.7:5060".parse().unwrap(),
        ),
        source: "192.0.2.7:5060".parse().unwrap(),
        origin: Some([192, 0, 2, 7].into()),
        path: Vec::new(),
        call_id: "c".into(),
        cseq: 1,
        user_agent: None,
        credential: 7,
        expires: 1_790_003_600,
        seconds_left: Some(3600),
    }
}

fn registers(user: &str, contact: &str) -> Change {
    Change::Bindings {
        user: user.to_owned(),
        bindings: vec![binding(contact)],
    }
}

fn line(call: &str, cause: &str) -> (String, String) {
    (call.to_owned(), cause.to_owned())
}

#[test]
fn there_is_at_most_one_transaction_a_second_and_it_has_the_latest() {
    let mut world = World::new();
    let witness = Connection::open(world.folder.file()).unwrap();
    // Changes with every commit of another connection.
    let version = || {
        witness
            .pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let (mut commits, mut before) = (Vec::new(), version());
    for tick in 0..999u64 {
        let user = format!("10{}", tick % 3);
        world.change([registers(&user, &format!("sip:{tick}@192.0.2.7"))]);
        world.pass(5 * MS);
        if version() != before {
            before = version();
            commits.push(tick * 5);
        }
    }
    assert_eq!(commits.len(), 5, "in five seconds: {commits:?}");
    assert!(commits.windows(2).all(|pair| pair[1] - pair[0] >= 995), "{commits:?}");
    world.pass(INTERVAL);
    assert_ne!(version(), before, "nothing more comes, and what waited is written");
    assert_eq!(
        world.contacts(),
        ["sip:996@192.0.2.7", "sip:997@192.0.2.7", "sip:998@192.0.2.7"]
    );
    before = version();
    world.pass(3600 * INTERVAL);
    assert_eq!(version(), before, "and then nothing");
    assert_eq!(world.writer().poll_timeout(), None);
}

#[test]
fn the_first_change_after_a_quiet_second_is_written_at_once() {
    let mut world = World::new();
    world.change([registers("100", "sip:a@192.0.2.7")]);
    assert_eq!(world.contacts(), ["sip:a@192.0.2.7"]);
    world.change([Change::Bindings {
        user: "100".into(),
        bindings: Vec::new(),
    }]);
    assert_eq!(world.contacts().len(), 1);
    world.pass(999 * MS);
    assert_eq!(world.contacts().len(), 1);
    world.pass(MS);
    assert_eq!(world.contacts().len(), 0);
}

#[test]
fn a_call_is_a_row_while_it_runs_and_a_line_when_it_ends() {
    let mut world = World::new();
    world.change([running("q1-1"), running("q1-2")]);
    assert_eq!(world.row_names(), ["q1-1", "q1-2"]);
    assert_eq!(world.lines(), []);
    world.change([ended("q1-1")]);
    assert_eq!(world.lines(), [line("q1-1", "answered")], "at once");
    world.pass(INTERVAL);
    assert_eq!(world.row_names(), ["q1-2"]);
    // One that is over before its row is due never has one; neither has one that was refused.
    world.change([running("q1-3")]);
    world.change([ended("q1-3"), ended("q1-4")]);
    world.pass(INTERVAL);
    assert_eq!(world.row_names(), ["q1-2"]);
    assert_eq!(world.lines().len(), 3);
}

#[test]
fn a_call_that_a_crash_ends_has_one_line_however_often_we_crash() {
    let mut world = World::new();
    world.change([running("q1-1"), running("q1-2")]);
    world.change([ended("q1-2")]);
    assert_eq!(
        world.row_names(),
        ["q1-1", "q1-2"],
        "killed between the line and the removal of the row"
    );
    world.restart();
    let expected = [line("q1-2", "answered"), line("q1-1", "crashed")];
    for _ in 0..3 {
        assert_eq!(world.lines(), expected);
        assert_eq!(world.row_names(), [""; 0]);
        world.restart();
    }
}

#[test]
fn a_line_that_was_torn_is_no_line() {
    let mut world = World::new();
    world.change([running("q1-1")]);
    world.pass(INTERVAL);
    world.writer = None;
    let whole = begun("q1-1").to_line();
    fs::write(world.records(), &whole[..whole.len() / 2]).unwrap();
    world.restart();
    assert_eq!(world.lines(), [line("q1-1", "crashed")]);
}

#[test]
fn the_end_of_a_crashed_call_is_known_to_ten_seconds() {
    let mut world = World::new();
    world.change([running("q1-1")]);
    world.pass(95 * INTERVAL);
    let rows = world.rows();
    assert!(
        matches!(&rows[..], [(_, end)] if (85_000..=95_000).contains(end)),
        "{rows:?}"
    );
    world.restart();
    let text = fs::read_to_string(world.records()).unwrap();
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["cause"], "crashed");
    assert!(
        line["end"].as_str().unwrap() > line["start"].as_str().unwrap(),
        "{line}"
    );
}

/// Fills the disk for one of the files.
fn store_is_full(world: &mut World, full: bool) {
    let connection = &world.writer().store.connection;
    let pages: i64 = connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    let most = if full { pages } else { 1 << 30 };
    connection
        .pragma_update_and_check(None, "max_page_count", most, |_| Ok(()))
        .unwrap();
}

/// Enough for a page of its own.
fn large(call: &str) -> Change {
    Change::Running(Record {
        to: "x".repeat(20_000),
        ..begun(call)
    })
}

#[test]
fn a_full_disk_stops_no_call_and_everything_is_written_afterwards() {
    let mut world = World::new();
    store_is_full(&mut world, true);
    world.change([large("q1-1"), registers("100", "sip:a@192.0.2.7")]);
    assert!(world.writer().store_fails);
    for second in 0..10 {
        world.change([registers("100", &format!("sip:{second}@192.0.2.7"))]);
        world.pass(INTERVAL);
    }
    assert_eq!((world.contacts().len(), world.rows().len()), (0, 0));
    world.change([ended("q1-9")]);
    assert_eq!(world.lines(), [line("q1-9", "answered")], "the other file is well");
    store_is_full(&mut world, false);
    world.pass(INTERVAL);
    assert!(!world.writer().store_fails);
    assert_eq!(world.contacts(), ["sip:9@192.0.2.7"]);
    assert_eq!(world.row_names(), ["q1-1"]);
}

#[test]
fn records_that_could_not_be_written_are_written_later_in_their_order() {
    let mut world = World::new();
    world.change([running("q1-1")]);
    world.pass(INTERVAL);
    // A folder in the place of the file: it can be opened for nothing.
    let aside = world.folder.0.join("aside");
    fs::rename(world.records(), &aside).unwrap();
    fs::create_dir(world.records()).unwrap();
    world.change([ended("q1-1"), ended("q1-2")]);
    world.pass(5 * INTERVAL);
    assert!(world.writer().file_fails);
    assert_eq!(world.row_names(), ["q1-1"], "a row stays until its line stands");
    fs::remove_dir(world.records()).unwrap();
    world.pass(2 * INTERVAL);
    assert!(!world.writer().file_fails);
    assert_eq!(world.lines(), [line("q1-1", "answered"), line("q1-2", "answered")]);
    assert_eq!(world.row_names(), [""; 0]);
}

#[test]
fn a_disk_that_stays_full_costs_no_memory_without_bound() {
    let mut world = World::new();
    fs::remove_file(world.records()).unwrap();
    fs::create_dir(world.records()).unwrap();
    world.writer().file.append("x").unwrap_err();
    for n in 0..3 * MAX_RECORDS {
        let call = format!("q1-{n}");
        world.change([running(&call)]);
        world.change([ended(&call)]);
    }
    let writer = world.writer();
    assert_eq!(
        (writer.records.len(), writer.running.len(), writer.changed.len()),
        (MAX_RECORDS, 0, 0)
    );
    assert!(writer.overflows);
}

#[test]
fn at_the_end_everything_is_written_whatever_the_time() {
    let mut world = World::new();
    world.change([running("q1-1")]);
    world.change([ended("q1-1"), registers("100", "sip:a@192.0.2.7")]);
    assert_eq!(world.contacts().len(), 0, "not due yet");
    let now = world.now;
    world.writer().finish(now);
    assert_eq!(world.contacts(), ["sip:a@192.0.2.7"]);
    assert_eq!(world.row_names(), [""; 0]);
    assert_eq!(world.writer().poll_timeout(), None);
}

/// Calls begin and end, and the process is killed at any moment: a line for each call whose row or line stood, no second.
#[test]
fn killed_at_any_moment_no_call_has_two_lines() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut world = World::new();
    let (mut live, mut next, mut over) = (Vec::<String>::new(), 0, Vec::new());
    for _ in 0..600 {
        match rng.next_u32() % 8 {
            0..=2 => {
                next += 1;
                live.push(format!("q1-{next}"));
                world.change([running(&live[live.len() - 1])]);
            }
            3..=5 if !live.is_empty() => {
                let call = live.swap_remove(rng.next_u32() as usize % live.len());
                world.change([ended(&call)]);
                over.push(call);
            }
            6 => {
                let stood = world.row_names();
                let torn = rng.next_u32() % 2 == 0;
                world.writer = None;
                if torn {
                    let part = begun("q9-9").to_line();
                    let text =
                        fs::read_to_string(world.records()).unwrap() + &part[..rng.next_u32() as usize % part.len()];
                    fs::write(world.records(), text).unwrap();
                }
                world.restart();
                // What began within the last second may have left nothing.
                over.extend(live.drain(..).filter(|call| stood.contains(call)));
            }
            _ => world.pass(Duration::from_millis(u64::from(rng.next_u32() % 1500))),
        }
        let mut lines: Vec<_> = world
            .lines()
            .into_iter()
            .map(|(call, _)| call)
            .filter(|c| c != "q9-9")
            .collect();
        lines.sort();
        over.sort();
        assert_eq!(lines, over);
    }
    assert!(over.len() > 100, "{}", over.len());
}
