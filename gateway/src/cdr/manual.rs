//! docs/records.md, made from the tables here.

use std::fmt::Write as _;
use std::path::Path;

use super::cause::ALL;
use super::{By, Cause, DiscardReason, Phase, Verdict, tests};

/// The fields of a record, in their order.
const FIELDS: &[(&str, &str)] = &[
    (
        "call",
        "The call's key, as `quartet calls`, the log and `X-Quartet-Call` show it; no restart repeats it.",
    ),
    ("start", "When the first side asked for it; all times are UTC."),
    ("answer", "When it was answered; null if nobody did."),
    ("end", "When it was over on both sides."),
    ("from", "Who called: a phone's login name, or a user of the network."),
    ("to", "Who was called; as it was dialled, where no route was found."),
    (
        "shown",
        "The number that the callee saw as the caller (`may_assert`), if it is another than `from`; empty if none was shown.",
    ),
    (
        "direction",
        "`outgoing`: from a phone to a network; `incoming`: from a network to phones.",
    ),
    ("network", "The network, as in routes.conf; null if no route was found."),
    ("route", "The name of the route that decided; null if none did."),
    ("cause", "How it ended: a word of the table below."),
    (
        "by",
        "Who ended it: `caller`, `callee`, `network`, `gateway` or `operator`.",
    ),
    (
        "count",
        "Only where a limit refused the same caller again and again in a minute: how many calls the line stands for. Where that were more than 1,024 callers, those beyond are one line, `from` and `to` `*`.",
    ),
    (
        "transfers",
        "Only if a phone transferred the call: the numbers that it was transferred to, or whom it was joined with, in order. `to` and `from` stay those of its beginning.",
    ),
    ("verdict", "What became of the four emojis: a word of the table below."),
    (
        "legs",
        "The sides that had media, the phone first: `side`, `codec`, `srtp` (the suite of SDES, or `DTLS-SRTP`; null: media was in clear), packets `received` and `lost` (that did not come by themselves), how often lost ones were `asked` for and how many came because of it (`repaired`), packets that came too `late`, packets whose sound was made up (`concealed`), those of them of which the next one had something (`restored`), `jitter_ms` at the end, and `depth_ms`, how long packets waited in the receiving buffer then, the `path` by which our packets went last (`direct`, or over a relay: `turn udp`, `turn tcp`, `turn tls`, `reflector udp`, `reflector tcp`), the ways that were `tried` (`turn tls (timeout)`: the server gave us nothing, and why), packets made up `in_a_row` on average, `stretched_ms` by which sound was made longer or shorter, `mouth_to_ear_ms`, how old the sound is that the other side hears (without its own buffer), `mos`, what all that is worth (ITU-T G.107, 1 to 4.4), how what is sent was coded at the end and why (`sent_as`), `round_trip_ms` there and back as last measured, `setup_ms` from the moment somebody took the call until this side heard and was heard; null where it is not known.",
    ),
    (
        "duration_ms",
        "How long the people could talk, from the answer to the end.",
    ),
];

/// How far a call can have come.
const PHASES: &[(Phase, &str)] = &[
    (Phase::Requested, "asked for, not ringing yet"),
    (Phase::Ringing, "ringing"),
    (Phase::KeyExchange, "accepted, the key is being agreed"),
    (Phase::Negotiating, "a key, codecs and addresses are being settled"),
    (Phase::Connecting, "all is settled, no media yet"),
    (Phase::Talking, "talking"),
];

fn page() -> String {
    let mut page = String::from(
        "# Call records\n\n<!-- Generated from the tables in gateway/src/cdr: run `UPDATE=1 cargo test -p quartet cdr`. -->\n\n\
         A line of JSON for each call, at its end, in the file that `[cdr] path` names; refused calls have one too. They never hold\n\
         keys. What a phone hears or shows is the SIP status and the Reason header (RFC 3326), which refusals, CANCELs and BYEs have\n\
         that end a call for one of these causes; the same word is in the log at INFO.\n\n\
         The file may be rotated by renaming it. If the gateway is killed within a second of the end of a call, and the file was renamed in\n\
         that second, the call's line is looked for in the two files of the same folder that are newest and whose names begin with its\n\
         name; renamed otherwise, or packed, that call has a second line, with the cause `crashed`.\n\n## Fields\n\n| field | meaning |\n|---|---|\n",
    );
    for (field, meaning) in FIELDS {
        let _ = writeln!(page, "| `{field}` | {meaning} |");
    }
    page.push_str("\n## Causes\n\n| cause | SIP status | Reason | meaning |\n|---|---|---|---|\n");
    for cause in ALL {
        let reason = cause.reason();
        let (word, status, meaning) = (cause.word(), cause.status(), cause.meaning());
        let _ = writeln!(
            page,
            "| `{word}` | {status} | {};cause={};text=\"{}\" | {meaning} |",
            reason.protocol, reason.cause, reason.text
        );
    }
    page.push_str("\nA call that is answered and then ended is hung up with BYE; its Reason is that of the cause.\n");
    page.push_str(
        "\n### When the E2EE user's side says `disconnect`\n\n\
         That is its one word for whatever fails there. What it means is read from how far the call had come:\n\n\
         | it had come to | cause, where the user was called | where the user called |\n|---|---|---|\n",
    );
    for (phase, words) in PHASES {
        let [called, calling] =
            [false, true].map(|calling| Cause::from_discard(DiscardReason::Disconnect, calling, *phase).word());
        let _ = writeln!(page, "| {words} | `{called}` | `{calling}` |");
    }
    page.push_str("\n## Verdicts\n\n| verdict | meaning |\n|---|---|\n");
    for verdict in Verdict::ALL {
        let _ = writeln!(page, "| `{}` | {} |", verdict.word(), verdict.meaning());
    }
    page
}

#[test]
fn the_manual_has_every_field_cause_and_verdict() {
    let record = super::Record {
        shown: Some("237".into()),
        by: By::Operator,
        count: 2,
        transfers: vec!["102".into()],
        ..tests::record()
    };
    let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&record.to_line()).unwrap();
    let mut fields: Vec<_> = line.keys().map(String::as_str).collect();
    let mut described: Vec<_> = FIELDS.iter().map(|(field, _)| *field).collect();
    fields.sort_unstable();
    described.sort_unstable();
    assert_eq!(described, fields);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/records.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, page()).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == page(),
        "docs/records.md is not what the tables make; run UPDATE=1 cargo test -p quartet cdr"
    );
}
