//! Words that a newcomer could not look up, each with the one to write instead: those of the RFCs, then those of the crates.

use super::{none, sources};

/// A folder, the words that may not stand in it, comments included, and what to write instead.
const BANNED: &[(&str, &[(&str, &str)])] = &[
    (
        "proto/src/sip/",
        &[
            ("repetition", "retransmission"),
            ("repetitions", "retransmissions"),
            ("our user", "the TU"),
            ("is news", "is not a retransmission"),
            ("an answer to our", "a response to our (an answer is SDP)"),
            ("fn refuse", "respond_stateless"),
            ("answer_plain", "respond"),
            ("fn tell", "emit"),
            ("Heard", "ResponseAction"),
            ("Alarm", "TimerHandle"),
            ("Wish", "RequestedBinding"),
            ("Welcome", "Authenticated"),
            ("Contradiction", "UriMismatch"),
        ],
    ),
    (
        "proto/src/e2ee/",
        &[("Power", "KeyExchangeJob"), ("enum Exchange", "KeyExchange")],
    ),
    (
        "gateway/src/call/",
        &[
            ("Power", "KeyExchangeJob"),
            ("PowerDone", "KeyExchangeResult"),
            ("Taken", "Accepted"),
            ("Means", "SipLegConfig or E2eeLegConfig"),
            ("Say", "Script"),
            ("WORD", "DISCARD_GRACE"),
        ],
    ),
    (
        "gateway/src/media/",
        &[
            ("Outside", "MediaIo"),
            ("hear_rtp", "on_rtp"),
            ("tell_press", "send_dtmf"),
            ("peer_misses", "on_remote_loss"),
            ("good_buffer", "peer_has_jitter_buffer"),
            ("lazy", "peer_has_jitter_buffer"),
            ("beside:", "same_worker_as"),
        ],
    ),
    (
        "gateway/src/io/",
        &[
            ("Ground", "WorkerIo"),
            ("FAIR", "READS_PER_SOCKET"),
            ("ORDERS", "COMMANDS_PER_TURN"),
            ("FAREWELL", "SHUTDOWN_GRACE"),
        ],
    ),
    (
        "gateway/src/exchange/",
        &[
            ("settle", "drain_events"),
            ("attend", "advance_call_of"),
            ("Rng32", "BoxRng"),
        ],
    ),
    (
        "plugins/",
        &[("preset", "default_value"), ("presets", "default values")],
    ),
    (
        "",
        &[
            ("PATIENCE", "a name that ends in _TIMEOUT"),
            ("LONGEST", "a name that begins with MAX_"),
            ("SHORTEST", "a name that begins with MIN_"),
            ("MOST", "a name that begins with MAX_"),
            ("LEAST", "a name that begins with MIN_"),
            ("MOST_", "MAX_"),
            ("LEAST_", "MIN_"),
            ("LONGEST_", "MAX_"),
            ("SHORTEST_", "MIN_"),
            ("See the head of this file", "what the item is"),
        ],
    ),
];

/// Whether a word stands in a line: whole, or as the beginning of a name if it ends in `_`.
fn holds(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && (word.ends_with(['_', ':']) || !after.is_some_and(is_name))
    })
}

/// What is wrong with a file.
fn banned_in(path: &str, text: &str) -> Vec<String> {
    let words = BANNED.iter().filter(|(folder, _)| path.starts_with(folder));
    let words: Vec<_> = words.flat_map(|(_, words)| *words).collect();
    let mut places = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for (word, instead) in words.iter().filter(|(word, _)| holds(line, word)) {
            places.push(format!("{path}:{}: write {instead} for \"{word}\"", at + 1));
        }
    }
    places
}

#[test]
fn words_are_those_of_the_field() {
    let here = |path: &str| path.starts_with("tests/tidy/");
    none(
        sources()
            .iter()
            .filter(|source| !here(&source.path))
            .flat_map(|source| banned_in(&source.path, &source.text))
            .collect(),
    );
}

#[test]
fn a_banned_word_is_found_whole_and_in_its_folder() {
    let text = "/// A repetition.\nconst MOST_LINES: usize = 1;\nstruct Heardness;\nfn almost_there() {}\n";
    assert_eq!(
        banned_in("proto/src/sip/x.rs", text),
        [
            "proto/src/sip/x.rs:1: write retransmission for \"repetition\"",
            "proto/src/sip/x.rs:2: write MAX_ for \"MOST_\"",
        ]
    );
    assert_eq!(banned_in("gateway/src/io/x.rs", text).len(), 1);
}
